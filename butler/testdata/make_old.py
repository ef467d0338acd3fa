"""Create a small Butler repository with an older release, for make_repos.py --golden to answer for. Run in an environment of that release:

  26: pip install 'lsst-daf-butler==26.0.2' 'numpy<2' 'pyarrow<16' 'astropy<6.1' 'pandas<2.3'
  29: pip install 'lsst-daf-butler==29.2.1' 'pandas<3' 'sqlalchemy<2.1'

  python make_old.py OUT/release_26
"""
import sys, warnings
import numpy as np
from astropy import units as u
from astropy.table import Table
from lsst.daf.butler import Butler, CollectionType, DatasetType

OLDEST = not hasattr(Butler, "from_config")

def table(n, seed):
    t = Table(meta={"note": "user metadata"})
    t["diaSourceId"] = np.arange(n, dtype="i8") + 1000 * seed
    t["ra"] = np.linspace(0, 1, n); t["ra"].unit = u.deg; t["ra"].description = "Right ascension"
    t["flux"] = np.arange(n, dtype="f4"); t["flux"].unit = u.nJy
    t["band"] = np.array(["g" * (1 + i % seed) for i in range(n)])
    if not OLDEST:                                                     # which knows neither times nor cells of several values
        t["mat"] = np.arange(n * 6).reshape(n, 2, 3)
        t["t"] = np.full(n, np.datetime64("2025-01-01T00:00:00", "ns"))
    return t

if __name__ == "__main__":
    warnings.simplefilter("ignore")
    root = sys.argv[1]
    Butler.makeRepo(root)
    b = Butler.from_config(root, writeable=True) if not OLDEST else Butler(root, writeable=True)
    r = b.registry
    r.insertDimensionData("instrument", {"name": "Cam1", "class_name": "x.Y", "detector_max": 4, "visit_max": 1000, "exposure_max": 1000, "visit_system": 0})
    r.insertDimensionData("physical_filter", {"instrument": "Cam1", "name": "g_01", "band": "g"})
    r.insertDimensionData("detector", {"instrument": "Cam1", "id": 1, "full_name": "D1"})
    r.registerRun("old/run")
    dims = b.dimensions if hasattr(b, "dimensions") else r.dimensions
    days = "day_obs" in [d.name for d in (dims.dimensions if hasattr(dims, "dimensions") else dims.getStaticDimensions())]
    if days:
        r.insertDimensionData("day_obs", {"instrument": "Cam1", "id": 20250101})
    for v in (1, 2):
        r.insertDimensionData("visit", {"instrument": "Cam1", "id": v, "name": f"v{v}", "physical_filter": "g_01", "day_obs": 20250101})
    for name, dimensions, sc in (("dia_source_visit", ("instrument", "visit"), "ArrowAstropy"), ("source_df", ("instrument", "visit"), "DataFrame"),
                                 ("tab_numpy", ("instrument", "visit", "detector"), "ArrowNumpy")):
        r.registerDatasetType(DatasetType(name, dimensions, sc, universe=dims))
    for v in (1, 2):
        at = {"instrument": "Cam1", "visit": v}
        b.put(table(2 + v, v), "dia_source_visit", at, run="old/run")
        t = table(3, v)
        if not OLDEST:
            t.remove_columns(["mat", "t"])
        b.put(t.to_pandas().set_index("diaSourceId"), "source_df", at, run="old/run")
        b.put(np.array([(v, 1.5, "abc")], dtype=[("i", "i4"), ("f", "f8"), ("s", "U5")]), "tab_numpy", at | {"detector": 1}, run="old/run")
    r.registerCollection("old/chain", CollectionType.CHAINED)
    r.setCollectionChain("old/chain", ["old/run"])
