// Seid stands in for a chain node: it initialises a home, grows a height that outlives it, and stops cleanly or not.
//
// Switches are files in HOME/switches: stop-seconds (how long a stop takes), lagging (/lag_status says no), halted (the
// height stays), silent (it signs nothing), peers (its chain's other validators, see chain.go). Events go as JSON lines to
// stdout and to HOME/logs/seid.jsonl, which outlives the pod.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const firstHeight = 1000

// Ports that only have to take a connection: p2p, gRPC, REST, EVM RPC, EVM websocket, metrics.
var otherPorts = []int{26656, 9090, 1317, 8545, 8546, 26660}

type node struct {
	home   string
	chain  string
	events io.Writer
	blocks *blocks
}

func main() {
	if len(os.Args) < 2 {
		log.Fatal("usage: seid init CHAIN --home HOME | seid start --home HOME")
	}
	home := option("--home", filepath.Join(os.Getenv("HOME"), ".sei"))
	var err error
	switch os.Args[1] {
	case "init":
		err = initialise(home, option("--chain-id", "unknown"))
	case "start":
		err = start(home)
	default:
		err = fmt.Errorf("unknown command %q", os.Args[1])
	}
	if err != nil {
		log.Fatal(err)
	}
}

func option(name, otherwise string) string {
	for i, arg := range os.Args {
		if arg == name && i+1 < len(os.Args) {
			return os.Args[i+1]
		}
	}
	return otherwise
}

func initialise(home, chain string) error {
	for _, folder := range []string{"config", "data", "tmp", "logs", "switches"} {
		if err := os.MkdirAll(filepath.Join(home, folder), 0o777); err != nil {
			return err
		}
	}
	genesis, _ := json.Marshal(map[string]string{"chain_id": chain})
	return os.WriteFile(filepath.Join(home, "config", "genesis.json"), genesis, 0o666)
}

func start(home string) error {
	genesis, err := os.ReadFile(filepath.Join(home, "config", "genesis.json"))
	if err != nil {
		return fmt.Errorf("no genesis: %w", err)
	}
	var about struct {
		Chain string `json:"chain_id"`
	}
	if err := json.Unmarshal(genesis, &about); err != nil {
		return err
	}
	file, err := os.OpenFile(filepath.Join(home, "logs", "seid.jsonl"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o666)
	if err != nil {
		return err
	}
	n := &node{home: home, chain: about.Chain, events: io.MultiWriter(os.Stdout, file)}
	height := int64(firstHeight)
	if text, err := os.ReadFile(n.heightFile()); err == nil {
		height, _ = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	}
	n.blocks = newBlocks(n, height)
	return n.run()
}

func (n *node) run() error {
	// What a killed seid leaves behind, and a cleanly stopped one does not.
	running := filepath.Join(n.home, "data", "running")
	_, err := os.Stat(running)
	n.event("start", map[string]any{"height": n.blocks.now(), "afterKill": err == nil})
	if err := os.WriteFile(running, nil, 0o666); err != nil {
		return err
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	for _, port := range otherPorts {
		listener, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err != nil {
			return err
		}
		go accept(listener)
	}
	rpc := &http.Server{Addr: ":26657", Handler: n.routes()}
	go func() { log.Println(rpc.ListenAndServe()) }()
	tick := time.NewTicker(blockTime / 8)
	for {
		select {
		case <-tick.C:
			n.blocks.grow()
		case <-stop:
			n.event("stopping", map[string]any{"height": n.blocks.now()})
			time.Sleep(time.Duration(n.stopSeconds() * float64(time.Second)))
			if err := os.Remove(running); err != nil {
				return err
			}
			n.event("clean stop", map[string]any{"height": n.blocks.now()})
			return nil
		}
	}
}

func accept(listener net.Listener) {
	for {
		connection, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer connection.Close()
			_ = connection.SetDeadline(time.Now().Add(time.Minute))
			_, _ = io.Copy(io.Discard, connection)
		}()
	}
}

func (n *node) routes() http.Handler {
	routes := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, result any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": -1, "result": result})
	}
	routes.HandleFunc("GET /status", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, http.StatusOK, map[string]any{
			"node_info": map[string]any{"id": "standin", "network": n.chain},
			"sync_info": map[string]any{
				"latest_block_height": strconv.FormatInt(n.blocks.committed(), 10),
				"latest_block_time":   time.Now().UTC().Format(time.RFC3339Nano),
				"catching_up":         false,
			},
			"validator_info": map[string]any{"address": n.blocks.own},
		})
	})
	routes.HandleFunc("GET /commit", func(w http.ResponseWriter, r *http.Request) {
		height, err := strconv.ParseInt(r.FormValue("height"), 10, 64)
		if err != nil {
			height = n.blocks.committed()
		}
		commit := map[string]any{"height": strconv.FormatInt(height, 10), "signatures": n.blocks.signatures(height)}
		answer(w, http.StatusOK, map[string]any{"signed_header": map[string]any{"commit": commit}, "canonical": true})
	})
	routes.HandleFunc("POST /vote", n.blocks.take)
	routes.HandleFunc("GET /lag_status", func(w http.ResponseWriter, _ *http.Request) {
		status, lag := http.StatusOK, int64(0)
		if n.has("lagging") {
			status, lag = http.StatusExpectationFailed, 1000
		}
		height := n.blocks.now()
		answer(w, status, map[string]any{"current_height": height, "max_peer_block_height": height + lag, "lag": lag})
	})
	routes.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { answer(w, http.StatusOK, map[string]any{}) })
	return routes
}

func (n *node) heightFile() string { return filepath.Join(n.home, "data", "height") }

func (n *node) has(name string) bool {
	_, err := os.Stat(filepath.Join(n.home, "switches", name))
	return err == nil
}

func (n *node) stopSeconds() float64 {
	text, err := os.ReadFile(filepath.Join(n.home, "switches", "stop-seconds"))
	if err != nil {
		text = []byte(os.Getenv("STOP_SECONDS"))
	}
	seconds, _ := strconv.ParseFloat(strings.TrimSpace(string(text)), 64)
	return seconds
}

func (n *node) event(name string, about map[string]any) {
	about["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	about["event"] = name
	line, _ := json.Marshal(about)
	_, _ = n.events.Write(append(line, '\n'))
}
