package butler

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
)

// universe is the set of dimensions that a repository was made with, read from its own database: which dimensions exist,
// what a visit implies, which table knows it. Versions 0 to 8 exist and differ in all of that.
// Source: lsst/daf/butler/dimensions/_config.py.
type universe struct {
	version  int
	elements map[string]*element
	order    []string // all elements in the universe's order
	position map[string]int
}

// element is a dimension (it has a key) or a table that joins dimensions (it has none).
type element struct {
	name       string
	key        string   // column of its own primary key, "" for join tables
	isInt      bool     // type of the key
	requires   []string // dimensions of its compound key, closed, in the universe's order, itself not among them
	implies    []string // dimensions whose values its table holds
	viewOf     string   // the element whose table lists its values, when it has no table of its own
	skypix     bool     // one level of a pixelization: neither table nor dependencies
	alwaysJoin bool     // a join table that every query over its dimensions passes through
}

func (e *element) hasTable() bool { return e.viewOf == "" && !e.skypix }

// storageJSON is how universes before 6 wrote what became keys of the element itself; it may be nested in itself.
type storageJSON struct {
	ViewOf string       `json:"view_of"`
	Nested *storageJSON `json:"nested"`
}

func (s *storageJSON) viewOf() string {
	for range maxConfigDepth {
		switch {
		case s == nil:
			return ""
		case s.ViewOf != "":
			return s.ViewOf
		}
		s = s.Nested
	}
	return ""
}

type universeJSON struct {
	Version  *int                       `json:"version"`
	Skypix   map[string]json.RawMessage `json:"skypix"`
	Elements map[string]struct {
		Keys []struct {
			Name string `json:"name"`
			Type string `json:"type"`
		} `json:"keys"`
		Requires     []string     `json:"requires"`
		Implies      []string     `json:"implies"`
		ImpliedUnion string       `json:"implied_union_target"`
		AlwaysJoin   bool         `json:"always_join"`
		Storage      *storageJSON `json:"storage"`
	} `json:"elements"`
}

// maxElements bounds a universe: a real one has some 60 elements, 41 of them levels of pixelizations.
const maxElements = 4096

// parseUniverse reads the value of config:dimensions.json.
func parseUniverse(raw []byte) (*universe, error) {
	var j universeJSON
	if err := json.Unmarshal(raw, &j); err != nil {
		return nil, fmt.Errorf("dimensions.json: %w", err)
	}
	if j.Version == nil || len(j.Elements) == 0 {
		return nil, errors.New("dimensions.json has no version or no elements")
	}
	u := &universe{version: *j.Version, elements: map[string]*element{}, position: map[string]int{}}
	for name, e := range j.Elements {
		el := &element{name: name, requires: e.Requires, implies: e.Implies, viewOf: e.ImpliedUnion, alwaysJoin: e.AlwaysJoin}
		if el.viewOf == "" {
			el.viewOf = e.Storage.viewOf()
		}
		if len(e.Keys) > 0 {
			el.key = e.Keys[0].Name
			switch e.Keys[0].Type {
			case "int":
				el.isInt = true
			case "string":
			default:
				return nil, fmt.Errorf("dimensions.json: dimension %s has a key of type %s", quoteName(name), quoteName(e.Keys[0].Type))
			}
		}
		u.elements[name] = el
	}
	for name, e := range u.elements {
		for _, dep := range slices.Concat(e.requires, e.implies) {
			if d := u.elements[dep]; d == nil || d.key == "" {
				return nil, fmt.Errorf("dimensions.json: %s depends on %s, which is no dimension", quoteName(name), quoteName(dep))
			}
		}
		if e.viewOf != "" {
			if t := u.elements[e.viewOf]; t == nil || !slices.Contains(t.implies, name) {
				return nil, fmt.Errorf("dimensions.json: %s takes its values from %s, which does not imply it", quoteName(name), quoteName(e.viewOf))
			}
		}
	}
	if err := u.sortElements(j.Skypix); err != nil {
		return nil, err
	}
	return u, nil
}

// sortElements finds the universe's order: in waves, everything whose dependencies are placed already, each wave by
// name. The systems of pixels take part as one item each. (Topology families take part in Python too; nothing depends
// on them, so they change no other's place.) Source: DimensionConstructionBuilder.finish.
func (u *universe) sortElements(skypix map[string]json.RawMessage) error {
	todo := map[string]bool{}
	for name := range u.elements {
		todo[name] = true
	}
	levels := map[string][]*element{}
	for name, raw := range skypix {
		if name == "common" {
			continue
		}
		var sys struct {
			Class string `json:"class"`
			Min   *int   `json:"min_level"`
			Max   *int   `json:"max_level"`
		}
		if err := json.Unmarshal(raw, &sys); err != nil {
			return fmt.Errorf("dimensions.json: pixelization %s: %w", quoteName(name), err)
		}
		lo, hi := 1, 24
		if strings.Contains(strings.ToLower(sys.Class), "healpix") {
			hi = 17
		}
		if sys.Min != nil {
			lo = *sys.Min
		}
		if sys.Max != nil {
			hi = *sys.Max
		}
		if lo < 0 || hi > 64 || lo > hi+1 {
			return fmt.Errorf("dimensions.json: pixelization %s has levels %d to %d", quoteName(name), lo, hi)
		}
		levels[name] = nil
		for l := lo; l <= hi; l++ {
			el := &element{name: fmt.Sprintf("%s%d", name, l), key: "id", isInt: true, skypix: true}
			if u.elements[el.name] != nil {
				return fmt.Errorf("dimensions.json: two elements are called %s", el.name)
			}
			levels[name] = append(levels[name], el)
		}
		todo[name] = true
	}
	if len(todo) > maxElements {
		return fmt.Errorf("dimensions.json has more than %d elements", maxElements)
	}
	for len(todo) > 0 {
		var wave []string
		for name := range todo {
			blocked := false
			if e := u.elements[name]; e != nil {
				for _, dep := range slices.Concat(e.requires, e.implies) {
					blocked = blocked || todo[dep]
				}
			}
			if !blocked {
				wave = append(wave, name)
			}
		}
		if len(wave) == 0 {
			return errors.New("dimensions.json: its elements depend on each other in a circle")
		}
		slices.Sort(wave)
		for _, name := range wave {
			delete(todo, name)
			if sys, ok := levels[name]; ok {
				for _, el := range sys {
					u.elements[el.name] = el
					u.place(el.name)
				}
				continue
			}
			u.closeRequires(u.elements[name])
			u.place(name)
		}
	}
	return nil
}

func (u *universe) place(name string) {
	u.position[name] = len(u.order)
	u.order = append(u.order, name)
}

// closeRequires adds what the required dimensions require themselves; they are placed, so theirs are closed.
func (u *universe) closeRequires(e *element) {
	set := map[string]bool{}
	for _, r := range e.requires {
		set[r] = true
		for _, rr := range u.elements[r].requires {
			set[rr] = true
		}
	}
	delete(set, e.name)
	e.requires = u.sorted(set)
	implied := map[string]bool{}
	for _, i := range e.implies {
		implied[i] = true
	}
	e.implies = u.sorted(implied)
}

func (u *universe) sorted(set map[string]bool) []string {
	names := make([]string, 0, len(set))
	for n := range set {
		names = append(names, n)
	}
	sort.Slice(names, func(i, j int) bool { return u.position[names[i]] < u.position[names[j]] })
	return names
}

// dimensionGroup is a set of dimensions with everything that they depend on.
type dimensionGroup struct {
	required []*element // in the universe's order; the columns of a tags table
	implied  []*element // in the universe's order
}

// all gives the dimensions in the order of Python's data IDs.
func (g dimensionGroup) all() []*element { return slices.Concat(g.required, g.implied) }

// group closes a set of names over what they require and imply. Source: DimensionGroup.__new__.
func (u *universe) group(names []string) (dimensionGroup, error) {
	set := map[string]bool{}
	todo := slices.Clone(names)
	for len(todo) > 0 {
		n := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		e := u.elements[n]
		if e == nil || e.key == "" {
			return dimensionGroup{}, fmt.Errorf("the universe (version %d) has no dimension %s", u.version, quoteName(n))
		}
		if set[n] {
			continue
		}
		set[n] = true
		todo = append(todo, e.requires...)
		todo = append(todo, e.implies...)
	}
	var g dimensionGroup
	for _, n := range u.sorted(set) {
		implied := false
		for m := range set {
			implied = implied || slices.Contains(u.elements[m].implies, n)
		}
		if implied {
			g.implied = append(g.implied, u.elements[n])
		} else {
			g.required = append(g.required, u.elements[n])
		}
	}
	return g, nil
}

// dimensionJoin is one dimension table that a listing is joined with for the values that it implies.
type dimensionJoin struct {
	table *element
	gives []string // dimensions whose values come from it
}

// impliedJoins plans how the implied values of g are found, starting from the required ones: each table is joined once
// its own key is known.
func (u *universe) impliedJoins(g dimensionGroup) ([]dimensionJoin, error) {
	known, wanted := map[string]bool{}, map[string]bool{}
	for _, e := range g.required {
		known[e.name] = true
	}
	for _, e := range g.implied {
		wanted[e.name] = true
	}
	var joins []dimensionJoin
	for len(wanted) > 0 {
		progress := false
		for _, e := range g.all() {
			if !known[e.name] || !e.hasTable() || slices.ContainsFunc(e.requires, func(r string) bool { return !known[r] }) {
				continue
			}
			j := dimensionJoin{table: e}
			for _, i := range e.implies {
				if wanted[i] {
					j.gives = append(j.gives, i)
				}
			}
			if len(j.gives) == 0 {
				continue
			}
			for _, i := range j.gives {
				known[i] = true
				delete(wanted, i)
			}
			joins = append(joins, j)
			progress = true
		}
		if !progress {
			return nil, fmt.Errorf("no table gives the values of dimension %s", u.sorted(wanted)[0])
		}
	}
	return joins, nil
}

// mandatoryJoins gives the join tables that Python passes every query over g through: a dataset whose combination is not
// in them is not listed. Source: QueryJoinsAnalysis.iter_mandatory.
func (u *universe) mandatoryJoins(g dimensionGroup) []*element {
	in, required := map[string]bool{}, map[string]bool{}
	for _, e := range g.required {
		in[e.name], required[e.name] = true, true
	}
	for _, e := range g.implied {
		in[e.name] = true
	}
	var joins []*element
	for _, name := range u.order {
		e := u.elements[name]
		if e.key != "" || !e.alwaysJoin || slices.ContainsFunc(e.requires, func(r string) bool { return !in[r] }) {
			continue
		}
		minimal, err := u.group(e.requires)
		if err != nil {
			continue
		}
		// Where the dataset's own columns tell the whole relation, its table adds nothing.
		if !slices.ContainsFunc(minimal.all(), func(m *element) bool { return !required[m.name] }) {
			continue
		}
		joins = append(joins, e)
	}
	return joins
}
