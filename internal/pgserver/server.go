package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Superuser is the role that owns a Server's cluster; over the Unix socket it needs no password.
const Superuser = "postgres"

// Config says what to start.
type Config struct {
	Install Install
	// Data is the data directory of a stopped cluster of the same major: the server starts on a copy of it. Empty: initdb makes a new one,
	// with the encoding UTF8 and the locale C.UTF-8 (C where the system lacks that).
	Data string
	// Settings are lines of postgresql.conf; they go after, and so before in force, those that make the server private and unsynced.
	Settings []string
	// HBA are the lines of pg_hba.conf. The Superuser's access by the Unix socket always comes first. Empty: everybody, by the socket,
	// without a password.
	HBA []string
	// TCP makes the server listen on 127.0.0.1 too, on the same port.
	TCP bool
	// Files are put into the data directory by their names, readable by the server's user alone: keys and certificates, say.
	Files map[string]string
	// Standby starts the copy of Data as a hot standby; Settings then hold primary_conninfo.
	Standby bool
}

// Server is a running cluster. Its methods are not for concurrent use.
type Server struct {
	Install Install
	Port    int // of the socket's name, and of 127.0.0.1 with Config.TCP

	dir     *ownedDir // private: data directory, socket, log
	bin     string    // Install.Bin, or a copy's that the server's user can reach
	account *account
	process *os.Process
	exited  chan struct{} // closed when the process has been waited for
}

// Start makes a cluster and starts a server on it; it returns as soon as the server accepts connections. The server listens on a Unix
// socket in a private directory of its own (mode 0700) under the directory for temporary files.
//
// The context bounds the start alone. The caller stops the server; should the caller's process end without that, the server ends too
// (on Linux), and the next Start clears its directory away.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, err := create(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("start Postgres %s: %w", cfg.Install.Version, err)
	}
	// A port that was free a moment ago may be taken now: others start servers too.
	for attempt := 1; ; attempt++ {
		err = s.configure(cfg)
		if err == nil {
			err = s.launch(ctx)
		}
		if err == nil {
			return s, nil
		}
		if !cfg.TCP || attempt == 3 || ctx.Err() != nil {
			return nil, errors.Join(fmt.Errorf("start Postgres %s: %w", cfg.Install.Version, err), s.dir.remove())
		}
	}
}

// InitDB makes the data directory of a new cluster at dir, which must not exist, ready to be some Config's Data. The directory belongs to
// the calling user.
func InitDB(ctx context.Context, in Install, dir string) error {
	s, err := create(ctx, Config{Install: in})
	if err != nil {
		return err
	}
	return errors.Join(copyTree(s.DataDir(), dir, nil), s.dir.remove())
}

// create lays out the private directory with a data directory in it.
func create(ctx context.Context, cfg Config) (_ *Server, err error) {
	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	dir, err := makeOwnedDir(socketBase(account), dirPrefix)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, dir.remove())
		}
	}()
	if err := account.own(dir.path); err != nil {
		return nil, err
	}
	s := &Server{Install: cfg.Install, dir: dir, bin: cfg.Install.Bin, account: account}
	if !account.reaches(s.bin) {
		if err := copyTree(filepath.Dir(s.bin), filepath.Join(dir.path, "pg"), account); err != nil {
			return nil, err
		}
		s.bin = filepath.Join(dir.path, "pg", "bin")
	}
	if cfg.Data != "" {
		return s, copyTree(cfg.Data, s.DataDir(), account)
	}
	return s, s.initdb(ctx)
}

func (s *Server) initdb(ctx context.Context) error {
	for _, locale := range []string{"C.UTF-8", "C"} {
		cmd := s.command(ctx, filepath.Join(s.bin, "initdb"), "--pgdata="+s.DataDir(), "--username="+Superuser, "--auth=trust", "--encoding=UTF8",
			"--locale="+locale, "--no-sync")
		out, err := cmd.CombinedOutput()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if locale == "C" || !strings.Contains(string(out), "invalid locale") {
			return fmt.Errorf("initdb: %w\n%s", err, lastLines(string(out), 15))
		}
	}
	return nil
}

// configure writes the settings over those of the data directory's origin.
func (s *Server) configure(cfg Config) error {
	s.Port = 5432 // any number does: the directory is the server's own
	listen := ""
	if cfg.TCP {
		port, err := freePort()
		if err != nil {
			return err
		}
		s.Port, listen = port, "127.0.0.1"
	}
	lines := []string{
		"listen_addresses = '" + listen + "'",
		"port = " + strconv.Itoa(s.Port),
		"unix_socket_directories = '" + strings.ReplaceAll(s.dir.path, "'", "''") + "'",
		"fsync = off",
		"full_page_writes = off",
		"timezone = 'UTC'",
		"log_timezone = 'UTC'",
		"lc_messages = 'C'",
		"logging_collector = off",
	}
	lines = append(lines, cfg.Settings...)
	hba := []string{"local all " + Superuser + " trust", "local replication " + Superuser + " trust"}
	if len(cfg.HBA) > 0 {
		hba = append(hba, cfg.HBA...)
	} else {
		hba = append(hba, "local all all trust", "local replication all trust")
	}
	if cfg.Standby {
		if err := s.write("standby.signal", ""); err != nil {
			return err
		}
	}
	for name, content := range cfg.Files {
		if err := s.write(name, content); err != nil {
			return err
		}
	}
	// A later postgresql.auto.conf, by ALTER SYSTEM, still wins.
	return errors.Join(
		s.write("postgresql.conf", strings.Join(append(lines, ""), "\n")),
		s.write("pg_hba.conf", strings.Join(append(hba, ""), "\n")))
}

func (s *Server) write(name, content string) error {
	path := filepath.Join(s.DataDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		return err
	}
	return s.account.own(path)
}

// launch starts the server process on the data directory and waits until it accepts connections.
func (s *Server) launch(ctx context.Context) error {
	if err := os.Remove(filepath.Join(s.DataDir(), "postmaster.pid")); err != nil && !os.IsNotExist(err) {
		return err
	}
	logFile, err := os.OpenFile(s.LogFile(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer logFile.Close()
	// Not under ctx, which bounds the start alone.
	cmd := s.command(context.WithoutCancel(ctx), filepath.Join(s.bin, "postgres"), "-D", s.DataDir())
	cmd.Stdout, cmd.Stderr = logFile, logFile
	if s.exited, err = background(cmd); err != nil {
		return err
	}
	s.process = cmd.Process
	for {
		if s.ready() {
			return nil
		}
		select {
		case <-s.exited:
			return fmt.Errorf("the server ended at once:\n%s", s.logTail())
		case <-ctx.Done():
			_ = s.end(syscall.SIGQUIT)
			return fmt.Errorf("not ready: %w:\n%s", context.Cause(ctx), s.logTail())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// background starts a process that lives as long as ours unless it is ended before; the channel is closed when it has been waited for.
func background(cmd *exec.Cmd) (exited chan struct{}, err error) {
	// A group of its own: Ctrl-C in a terminal is for us, who then end the process.
	cmd.SysProcAttr.Setpgid = true
	endWithParent(cmd.SysProcAttr)
	started := make(chan error, 1)
	exited = make(chan struct{})
	go func() {
		// The kernel sends the parent-death signal when the thread that started the process ends, so that thread must stay.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		defer close(exited)
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // how it ended stands in its log
		}
	}()
	return exited, <-started
}

// ready reads the server's own word from line 8 of postmaster.pid, as pg_ctl does. Source: LOCK_FILE_LINE_PM_STATUS in
// src/include/utils/pidfile.h.
func (s *Server) ready() bool {
	content, err := os.ReadFile(filepath.Join(s.DataDir(), "postmaster.pid"))
	if err != nil {
		return false
	}
	lines := strings.Split(string(content), "\n")
	return len(lines) >= 8 && strings.TrimSpace(lines[7]) == "ready"
}

// Dir is the private directory; the socket is in it.
func (s *Server) Dir() string { return s.dir.path }

// DataDir is the cluster's data directory.
func (s *Server) DataDir() string { return filepath.Join(s.dir.path, "data") }

// LogFile is where the server's log goes.
func (s *Server) LogFile() string { return filepath.Join(s.dir.path, "log") }

// DSN is the key=value connection string of a database, by the Unix socket as Superuser.
func (s *Server) DSN(database string) string {
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s", quoteDSN(s.dir.path), s.Port, Superuser, quoteDSN(database))
}

// quoteDSN quotes a value of a connection string. Source: the Postgres manual, 34.1.1.1 Keyword/Value Connection Strings.
func quoteDSN(v string) string {
	if v != "" && !strings.ContainsAny(v, ` '\`) {
		return v
	}
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(v) + "'"
}

// Companion starts a program beside the server, such as a pooler, as the server's user in its private directory, with further environment
// variables; files are put into that directory first. Its output goes to the file "companion.log" there. stop ends it by SIGQUIT and
// waits; until then it lives at most as long as our process.
func (s *Server) Companion(files map[string]string, env []string, path string, args ...string) (stop func(), err error) {
	for name, content := range files {
		file := filepath.Join(s.dir.path, name)
		if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
			return nil, err
		}
		if err := s.account.own(file); err != nil {
			return nil, err
		}
	}
	logFile, err := os.OpenFile(filepath.Join(s.dir.path, "companion.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()
	cmd := s.command(context.Background(), path, args...)
	cmd.Env = append(cmd.Env, env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	exited, err := background(cmd)
	if err != nil {
		return nil, err
	}
	return func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT) // it may have ended already
		select {
		case <-exited:
		case <-time.After(5 * time.Second):
			_ = cmd.Process.Kill()
			<-exited
		}
	}, nil
}

// Halt stops the server by a fast shutdown: sessions are ended, the cluster is left clean. Its directory stays, for Launch.
func (s *Server) Halt() error { return s.end(syscall.SIGINT) }

// Crash stops the server by an immediate shutdown, as a crash would: nothing is flushed, and the next Launch recovers from the WAL.
func (s *Server) Crash() error { return s.end(syscall.SIGQUIT) }

// Launch starts the server again after Halt or Crash, with the same settings.
func (s *Server) Launch(ctx context.Context) error {
	if s.Running() {
		return errors.New("the server is running")
	}
	return s.launch(ctx)
}

// Running says whether the server process lives.
func (s *Server) Running() bool {
	if s.process == nil {
		return false
	}
	select {
	case <-s.exited:
		return false
	default:
		return true
	}
}

// Signal sends the server process a signal, such as SIGHUP to make it read its configuration again.
func (s *Server) Signal(sig syscall.Signal) error { return s.process.Signal(sig) }

// Stop ends the server and removes its directory. A second Stop does nothing.
func (s *Server) Stop() error {
	// The data is thrown away: the quickest way down will do, but one that lets the server take its sockets and shared memory along.
	return errors.Join(s.end(syscall.SIGINT), s.dir.remove())
}

// end signals the server and waits until it is gone, with ever stronger signals: SIGINT (fast) becomes SIGQUIT (immediate) after ten
// seconds, and SIGKILL five seconds later. Source: the Postgres manual, 18.5 Shutting Down the Server.
func (s *Server) end(sig syscall.Signal) error {
	if !s.Running() {
		return nil
	}
	for _, step := range []struct {
		sig  syscall.Signal
		wait time.Duration
	}{{sig, 10 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}, {syscall.SIGKILL, 5 * time.Second}} {
		if err := s.process.Signal(step.sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("stop Postgres: %w", err)
		}
		select {
		case <-s.exited:
			return nil
		case <-time.After(step.wait):
		}
	}
	return errors.New("stop Postgres: the server does not end")
}

// command prepares a program that runs as the server's user in its private directory, with an environment that holds nothing which could
// change what it does.
func (s *Server) command(ctx context.Context, path string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir = s.dir.path
	cmd.Env = []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC", "HOME=" + s.dir.path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.account.credential()}
	return cmd
}

func (s *Server) logTail() string {
	f, err := os.Open(s.LogFile())
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	if info, err := f.Stat(); err == nil && info.Size() > 8<<10 {
		_, _ = f.Seek(-8<<10, io.SeekEnd)
	}
	tail, _ := io.ReadAll(f)
	return lastLines(string(tail), 15)
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimRight(s, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
