package bench

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/dustin/go-humanize"
)

// Load is what Judge judges by: an export with some settings and the floor with the same ones, medians over the rounds.
type Load struct {
	Cores, Workers int     // cores that fast-export may use, connections that copied
	Wall           float64 // s: of the export
	Floor          float64 // s: of its COPY thrown away, over as many connections in the same chunks; 0: not measured
	ClientCPU      float64 // s: of fast-export
	FloorClientCPU float64 // s: of fast-export in the floor
	ServerCPU      float64 // s: of the server's processes, if Local
	Local          bool    // they run on this machine and were seen
	Socket         bool    // the way to them is this machine's own, which nothing can narrow
	Waits          Waits   // what they were seen at in the export
	FloorWaits     Waits   // and in the floor
	Write          float64 // s: writing and syncing the output's bytes alone
}

// seen is how often the processes were looked at, idle ones included.
func (w Waits) seen() int { return w.Running + w.Sending + w.Reading + w.Other + w.Idle }

// share is n of all looks.
func (w Waits) share(n int) float64 {
	if w.seen() == 0 {
		return 0
	}
	return float64(n) / float64(w.seen())
}

func (w *Waits) add(o Waits) {
	w.Running += o.Running
	w.Sending += o.Sending
	w.Reading += o.Reading
	w.Other += o.Other
	w.Idle += o.Idle
}

const (
	// halfBusy is the share below which a bottleneck is none that one could widen.
	halfBusy = 0.5
	// allOfIt is the share from which on a floor is the export's time: nothing that is done with the rows here makes it longer.
	allOfIt = 0.9
	// saturated is the share from which on cores are what both sides wait for.
	saturated = 0.8
	// fewLooks is what is too little to tell shares from.
	fewLooks = 10
)

// Judge names what the export waits for: of all that it uses, that which is busy for the largest share of its time.
//
// The floor goes before all shares: where it takes as long as the export, what is done with the rows here is not in the way, however
// busy it keeps the cores. Where nothing is busy for half of the time, the floor tells on which side the time goes by. Where the server
// is on this machine both share its cores: if these are saturated, the bottleneck is who uses more of them.
func Judge(l Load) Bottleneck {
	b := Bottleneck{Client: l.ClientCPU / l.Wall / float64(l.Cores), Floor: l.Floor / l.Wall, Disk: l.Write / l.Wall}
	say := func(format string, args ...any) { b.Why = append(b.Why, fmt.Sprintf(format, args...)) }
	if l.Floor > 0 {
		say("COPY thrown away takes %.2f s, the export %.2f s: %s of its time", l.Floor, l.Wall, percent(b.Floor))
	} else {
		say("the export takes %.2f s; COPY thrown away was not measured with the same settings", l.Wall)
	}
	say("fast-export uses %.2f s of CPU in that time, %s of the %s here", l.ClientCPU, percent(b.Client), plural(l.Cores, "core"))
	say("writing and syncing the file alone takes %.2f s, %s of the time", l.Write, percent(b.Disk))
	looked, floorLooked := l.Waits.seen() >= fewLooks, l.FloorWaits.seen() >= fewLooks
	reading := 0.0
	if looked {
		reading = l.Waits.share(l.Waits.Reading)
		say("of %d looks at the server's processes %s found them at work, %s waiting until this side takes more, %s waiting for their disk, %s idle", l.Waits.seen(),
			percent(l.Waits.share(l.Waits.Running)), percent(l.Waits.share(l.Waits.Sending)), percent(reading), percent(l.Waits.share(l.Waits.Idle)))
	}
	switch {
	case l.Local:
		can := max(min(l.Workers, l.Cores), 1)
		b.Server = l.ServerCPU / l.Wall / float64(can)
		b.Cores = (l.ServerCPU + l.ClientCPU) / l.Wall / float64(l.Cores)
		say("the server's processes use %.2f s of CPU, %s of what %s on %s can; both together keep the cores busy for %s of the time",
			l.ServerCPU, percent(b.Server), plural(l.Workers, "backend"), plural(l.Cores, "core"), percent(b.Cores))
	case looked:
		b.Server = l.Waits.share(l.Waits.Running)
	}
	if floorLooked && !l.Socket && l.Floor > 0 {
		// A chunk that fits the buffers on the way leaves its process idle while the network drains them. What the client needs of the
		// floor's time is not the network's.
		stuck := l.FloorWaits.share(l.FloorWaits.Sending + l.FloorWaits.Idle)
		own := min(l.FloorClientCPU/l.Floor/float64(max(l.Workers, 1)), stuck)
		b.Network = (stuck - own) * min(b.Floor, 1)
		say("when all is thrown away here, they still wait for %s of the time until the network takes more, or for the next chunk; %s are what throwing it away takes", percent(stuck), percent(own))
	}
	type candidate struct {
		name  string
		share float64
	}
	most := func(all ...candidate) candidate {
		return slices.MaxFunc(all, func(a, b candidate) int { return cmp.Compare(a.share, b.share) })
	}
	there := []candidate{{"server", b.Server}, {"network", b.Network}, {"disk", reading}} // what the floor is made of
	here := []candidate{{"client", b.Client}, {"disk", b.Disk}}
	b.Disk = max(b.Disk, reading)
	far := func() { // it is the server's side, or the way to it
		best := most(there...)
		switch {
		case best.share >= halfBusy || looked && floorLooked:
			b.Name = best.name
			say("the %s is what is busy for the largest share of that, %s", best.name, percent(best.share))
		case l.Local && l.Socket:
			b.Name = "server"
		default:
			b.Name = "server or network"
			if !l.Local && !looked {
				say("what the server does is not visible from here: neither its CPU time nor pg_stat_activity")
			}
		}
		if best.share < halfBusy {
			say("no part of it is known to be busy for half of the time: the rest is connecting, planning and waiting for each other, as in a short run or with a far server")
		}
	}
	best := most(append(slices.Clone(there), here...)...)
	switch {
	case b.Floor >= allOfIt:
		say("rows come no faster even when they are thrown away, so that it is not what is done with them here")
		far()
	case b.Cores >= saturated && b.Cores > best.share:
		b.Name = "client"
		if l.ServerCPU > l.ClientCPU {
			b.Name = "server"
		}
		say("the cores are what is busy for the largest share of the time, and the %s uses more of them than the other side", b.Name)
	case best.share >= halfBusy && (l.Local || looked || best.share >= b.Floor):
		b.Name = best.name
		say("the %s is what is busy for the largest share of the time", b.Name)
	case b.Floor >= halfBusy:
		far()
	default:
		b.Name = most(here...).name
		say("the %s is what is busy for the largest share of the time on this side, on which most of it goes by", b.Name)
		say("but that is not even half of it: the rest goes into waiting for each other, as with few chunks, a far server, a short run, or others who keep this machine busy")
	}
	return b
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

// plural is a count with its noun.
func plural[N int | int64](n N, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return humanize.Comma(int64(n)) + " " + noun
}
