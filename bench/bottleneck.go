package bench

import "fmt"

// Load is what Judge judges by: an export with some settings and the floor with the same ones, medians over the rounds.
type Load struct {
	Cores, Workers int     // cores that fast-export may use, connections that copied
	Wall, Floor    float64 // s: of the export, and of its COPY thrown away
	ClientCPU      float64 // s: of fast-export
	ServerCPU      float64 // s: of the server's processes, if Local
	Local          bool    // they run on this machine and were seen
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

// halfBusy is the share below which a bottleneck is none that one could widen.
const halfBusy = 0.5

// fewLooks is what is too little to tell shares from.
const fewLooks = 10

// Judge names what the export waits for: of all that it uses, that which is busy for the largest share of its time.
//
// Where the server is on this machine both share its cores: if these are busiest, the bottleneck is who uses more of them. Whether
// the server's processes work or wait for the network or the disk is told by their CPU time where it is visible, and by what
// pg_stat_activity says that they wait for.
func Judge(l Load) Bottleneck {
	b := Bottleneck{Client: l.ClientCPU / l.Wall / float64(l.Cores), Floor: l.Floor / l.Wall, Disk: l.Write / l.Wall}
	say := func(format string, args ...any) { b.Why = append(b.Why, fmt.Sprintf(format, args...)) }
	say("COPY thrown away takes %.2f s, the export %.2f s: %s of its time", l.Floor, l.Wall, percent(b.Floor))
	say("fast-export uses %.2f s of CPU in that time, %s of the %s here", l.ClientCPU, percent(b.Client), plural(l.Cores, "core"))
	looked := l.Waits.seen() >= fewLooks
	writing := b.Disk
	say("writing and syncing the file alone takes %.2f s, %s of the time", l.Write, percent(writing))
	if looked {
		reading := l.Waits.share(l.Waits.Reading)
		b.Disk = max(b.Disk, reading)
		say("of %d looks at the server's processes %s found them at work, %s waiting until this side takes more, %s waiting for their disk, %s idle", l.Waits.seen(),
			percent(l.Waits.share(l.Waits.Running)), percent(l.Waits.share(l.Waits.Sending)), percent(reading), percent(l.Waits.share(l.Waits.Idle)))
	}
	known := false // what the server's processes do
	switch {
	case l.Local:
		known = true
		can := max(min(l.Workers, l.Cores), 1)
		b.Server = l.ServerCPU / l.Wall / float64(can)
		b.Cores = (l.ServerCPU + l.ClientCPU) / l.Wall / float64(l.Cores)
		say("the server's processes use %.2f s of CPU, %s of what %s on %s can; both together keep the cores busy for %s of the time",
			l.ServerCPU, percent(b.Server), plural(l.Workers, "backend"), plural(l.Cores, "core"), percent(b.Cores))
	case looked:
		known = true
		b.Server = l.Waits.share(l.Waits.Running)
		if l.FloorWaits.seen() >= fewLooks {
			stuck := l.FloorWaits.share(l.FloorWaits.Sending)
			b.Network = stuck * min(b.Floor, 1)
			say("when all is thrown away here, they still wait for %s of the time until the network takes more", percent(stuck))
		}
	}
	most := -1.0
	for _, c := range []struct {
		name  string
		share float64
	}{{"server", b.Server}, {"network", b.Network}, {"client", b.Client}, {"disk", b.Disk}, {"cores", b.Cores}} {
		if c.share > most {
			b.Name, most = c.name, c.share
		}
	}
	if b.Name == "cores" {
		b.Name = "client"
		if l.ServerCPU > l.ClientCPU {
			b.Name = "server"
		}
		say("the cores are what is busy for the largest share of the time, and the %s uses more of them than the other side", b.Name)
	} else if known || b.Floor <= most {
		say("the %s is what is busy for the largest share of the time", b.Name)
	}
	if !known && b.Floor > most {
		// Nothing is known of what the server does, but that rows come no faster.
		b.Name = "server or network"
		say("what the server does is not visible from here: neither its CPU time nor pg_stat_activity; rows come no faster")
		return b
	}
	if most < halfBusy {
		say("but that is not even half of it: the rest goes into waiting for each other, as with few chunks, a far server, a short run, or others who keep this machine busy")
	}
	return b
}

func percent(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) }

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
