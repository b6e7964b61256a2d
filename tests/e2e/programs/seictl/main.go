// Seictl stands in for a node's sidecar, in the generation that it is built for: "shared" (one listener for tasks and
// health) or "split" (tasks on loopback, health and metrics on the public port).
//
// Readiness is in memory and lost at each start; tasks are in a file on the volume and outlive the pod. Switches are
// files in SEI_HOME/switches, for both generations or, with ".shared" or ".split" behind the name, for one of them:
// crash (at start and while it runs), unready (healthz is 503 whatever comes), without (routes to leave out, one a
// line). The environment has the same: SIDECAR_CRASH, SIDECAR_UNREADY, SIDECAR_WITHOUT (separated by commas).
// Requests go as JSON lines to stdout and to SEI_HOME/logs/sidecar.jsonl.
package main

import (
	"cmp"
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// generation is set when the program is linked.
var generation = "shared"

type sidecar struct {
	home  string
	log   io.Writer
	ready atomic.Bool
	tasks *tasks
	authn bool
}

func main() {
	log.SetFlags(0)
	if len(os.Args) != 2 || os.Args[1] != "serve" {
		log.Fatal("usage: seictl serve")
	}
	home := os.Getenv("SEI_HOME")
	stored, err := open(filepath.Join(home, "sidecar-tasks.json"))
	if err != nil {
		log.Fatal(err)
	}
	s := &sidecar{home: home, tasks: stored, authn: os.Getenv("SEI_SIDECAR_AUTHN_MODE") == "trusted-header"}
	if err := os.MkdirAll(filepath.Join(home, "logs"), 0o777); err != nil {
		log.Fatal(err)
	}
	file, err := os.OpenFile(filepath.Join(home, "logs", "sidecar.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		log.Fatal(err)
	}
	s.log = io.MultiWriter(os.Stdout, file)
	s.crashIfTold()
	s.event(map[string]any{"event": "start"})
	s.listen()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for {
		select {
		case <-time.After(500 * time.Millisecond):
			s.crashIfTold()
		case <-stop:
			s.event(map[string]any{"event": "stop"})
			return
		}
	}
}

// listen opens the listeners of this generation; a port that is taken ends the program.
func (s *sidecar) listen() {
	port := cmp.Or(os.Getenv("SEI_SIDECAR_PORT"), "7777")
	serve := func(name, address string, tasks, health bool) {
		server := &http.Server{Addr: address, Handler: s.logged(name, s.routes(tasks, health))}
		go func() { log.Fatal(server.ListenAndServe()) }()
	}
	if generation != "split" {
		serve("shared", "127.0.0.1:"+port, true, true)
		return
	}
	serve("tasks", "127.0.0.1:"+port, true, false)
	serve("public", "0.0.0.0:"+cmp.Or(os.Getenv("SEI_SIDECAR_PUBLIC_PORT"), "9100"), false, true)
}

func (s *sidecar) routes(tasks, health bool) http.Handler {
	routes := http.NewServeMux()
	if health {
		routes.HandleFunc("GET /v0/healthz", s.healthz)
		routes.HandleFunc("GET /v0/livez", ok)
		routes.HandleFunc("GET /v0/startupz", ok)
		routes.HandleFunc("GET /v0/metrics", s.metrics)
	}
	if tasks {
		routes.Handle("/v0/tasks", s.authenticated(s.tasks.collection(&s.ready)))
		routes.Handle("/v0/tasks/{id}", s.authenticated(s.tasks.one()))
	}
	if tasks && health { // these have no home in the split
		routes.HandleFunc("GET /v0/status", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintf(w, `{"ready": %t}`+"\n", s.ready.Load())
		})
		routes.HandleFunc("GET /v0/node-id", func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, `{"nodeId": "0000000000000000000000000000000000000000"}`)
		})
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.without(r.URL.Path) {
			http.NotFound(w, r)
			return
		}
		routes.ServeHTTP(w, r)
	})
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }

func (s *sidecar) healthz(w http.ResponseWriter, r *http.Request) {
	if s.ready.Load() && !s.told("unready") {
		ok(w, r)
		return
	}
	http.Error(w, "not ready", http.StatusServiceUnavailable)
}

func (s *sidecar) metrics(w http.ResponseWriter, _ *http.Request) {
	ready := 0
	if s.ready.Load() {
		ready = 1
	}
	fmt.Fprintf(w, "# TYPE sei_sidecar_ready gauge\nsei_sidecar_ready %d\n", ready)
}

// authenticated lets in whom the proxy vouches for.
func (s *sidecar) authenticated(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.authn && r.Header.Get("X-Remote-User") == "" {
			http.Error(w, "missing trusted header", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r)
	})
}

type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	r.status = status
	r.ResponseWriter.WriteHeader(status)
}

// logged tells of each request; never of a credential or a body.
func (s *sidecar) logged(listener string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		recorded := &recorder{w, http.StatusOK}
		next.ServeHTTP(recorded, r)
		s.event(map[string]any{
			"event": "request", "listener": listener, "method": r.Method, "path": r.URL.Path, "status": recorded.status,
			"user": r.Header.Get("X-Remote-User"), "agent": r.UserAgent(), "task": recorded.Header().Get(taskHeader),
			"id": recorded.Header().Get(idHeader),
		})
	})
}

func (s *sidecar) event(about map[string]any) {
	about["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	about["generation"] = generation
	_, _ = s.log.Write(encode(about))
}

// switches.

func (s *sidecar) path(name string) (string, bool) {
	for _, file := range []string{name, name + "." + generation} {
		path := filepath.Join(s.home, "switches", file)
		if _, err := os.Stat(path); err == nil {
			return path, true
		}
	}
	return "", false
}

func (s *sidecar) told(name string) bool {
	_, found := s.path(name)
	return found || os.Getenv("SIDECAR_"+strings.ToUpper(name)) != ""
}

func (s *sidecar) crashIfTold() {
	if s.told("crash") {
		s.event(map[string]any{"event": "crash"})
		os.Exit(1)
	}
}

func (s *sidecar) without(route string) bool {
	missing := strings.Split(os.Getenv("SIDECAR_WITHOUT"), ",")
	if path, found := s.path("without"); found {
		text, _ := os.ReadFile(path)
		missing = append(missing, strings.Fields(string(text))...)
	}
	for _, each := range missing {
		if each != "" && each == route {
			return true
		}
	}
	return false
}
