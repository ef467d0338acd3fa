"""Write universes.json: the dimension universes that releases have had, as a registry stores them (documentation left out), and what Python
makes of them. Run with the packages of internal/tools/setup/requirements.txt."""
import glob, json, os, re, lsst.daf.butler
from lsst.daf.butler import DimensionConfig, DimensionUniverse

GROUPS = [[], ["visit"], ["visit", "detector"], ["exposure", "detector"], ["tract", "patch", "band"], ["day_obs"], ["exposure", "visit"], ["htm7", "visit"],
          ["subfilter", "tract"], ["physical_filter"], ["visit_system"], ["healpix9"], ["group"], ["nonsense"]]

def strip(x):
    if isinstance(x, dict):
        return {k: strip(v) for k, v in x.items() if k != "doc"}
    return [strip(v) for v in x] if isinstance(x, list) else x

out = []
for path in sorted(glob.glob(os.path.join(os.path.dirname(lsst.daf.butler.__file__), "configs/old_dimensions/*.yaml"))):
    config = DimensionConfig(path)
    universe = DimensionUniverse(config)
    groups = []
    for names in GROUPS:
        g = {"names": names}
        try:
            x = universe.conform(names)
            g["required"], g["implied"] = list(x.required), list(x.implied)
        except Exception as err:
            g["error"] = type(err).__name__
        groups.append(g)
    out.append({"version": int(re.search(r"(\d+)\.yaml", path)[1]), "json": strip(config.toDict()), "order": [e.name for e in universe.elements], "groups": groups})
with open(os.path.join(os.path.dirname(os.path.abspath(__file__)), "universes.json"), "w") as f:
    json.dump(out, f, separators=(",", ":"))
