package main

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

const blockTime = 400 * time.Millisecond

// How many blocks behind a vote may come; a real chain has closed the commit by then.
const late = 2

// blocks are what a seid knows of its chain: the height, and who signed which block.
//
// Alone it grows by itself, and is the only validator that signs. With peers, which the switch names one a line, each
// tells the others of every block that it signs, and whoever hears of a higher block goes on from there. A host has a
// dot in its name; a name without one stands for a validator elsewhere that always signs. A node that was away has not
// signed what was made meanwhile; the event "signs" tells the first block that it signed together with a peer.
type blocks struct {
	node   *node
	own    string
	mu     sync.Mutex
	height int64
	since  time.Time
	first  sync.Once
	votes  map[int64]map[string]bool
}

func newBlocks(n *node, height int64) *blocks {
	host, _ := os.Hostname()
	return &blocks{node: n, own: address(host), height: height, since: time.Now(), votes: map[int64]map[string]bool{}}
}

// address gives the same address after each restart: a pod of a StatefulSet keeps its name.
func address(host string) string {
	sum := sha256.Sum256([]byte(host))
	return strings.ToUpper(hex.EncodeToString(sum[:20]))
}

func (b *blocks) now() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.height
}

// committed gives the highest block that no vote is expected for any more.
func (b *blocks) committed() int64 { return b.now() - 1 }

// grow makes the next block if its time has come.
func (b *blocks) grow() {
	b.mu.Lock()
	next, due := b.height+1, time.Since(b.since) >= blockTime
	b.mu.Unlock()
	if due {
		b.reach(next)
	}
}

// reach goes on to a higher block, and signs it.
func (b *blocks) reach(height int64) {
	if b.node.has("halted") {
		return
	}
	b.mu.Lock()
	if height <= b.height {
		b.mu.Unlock()
		return
	}
	b.height, b.since = height, time.Now()
	if err := os.WriteFile(b.node.heightFile(), []byte(strconv.FormatInt(height, 10)), 0o666); err != nil {
		log.Println(err)
	}
	delete(b.votes, height-100)
	b.mu.Unlock()
	if !b.node.has("silent") {
		b.sign(height)
	}
}

// sign signs a block and tells the peers; whoever is behind them goes on from their height.
func (b *blocks) sign(height int64) {
	b.vote(height, b.own)
	hosts, _ := b.peers()
	for _, host := range hosts {
		go func() {
			switch theirs := tell(host, height, b.own); {
			case theirs > height:
				b.reach(theirs)
			case theirs == height:
				b.first.Do(func() { b.node.event("signs", map[string]any{"height": height}) })
			}
		}()
	}
}

func (b *blocks) vote(height int64, who string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if height < b.height-late {
		return
	}
	if b.votes[height] == nil {
		b.votes[height] = map[string]bool{}
	}
	b.votes[height][who] = true
}

// take hears of another validator's vote, and answers with the height here.
func (b *blocks) take(w http.ResponseWriter, r *http.Request) {
	height, err := strconv.ParseInt(r.FormValue("height"), 10, 64)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	b.vote(height, r.FormValue("address"))
	b.reach(height)
	fmt.Fprint(w, b.now())
}

// signatures are a block's, in the format of CometBFT's commits: 2 means that it signed, 1 that it was absent.
func (b *blocks) signatures(height int64) []any {
	hosts, elsewhere := b.peers()
	b.mu.Lock()
	defer b.mu.Unlock()
	signed := b.votes[height]
	found := []any{}
	add := func(who string, did bool) {
		flag := 2
		if !did {
			flag, who = 1, ""
		}
		found = append(found, map[string]any{"block_id_flag": flag, "validator_address": who})
	}
	add(b.own, signed[b.own])
	for _, host := range hosts {
		who := address(strings.SplitN(host, ".", 2)[0])
		add(who, signed[who])
	}
	for _, name := range elsewhere {
		add(address(name), true)
	}
	return found
}

func (b *blocks) peers() (hosts, elsewhere []string) {
	text, _ := os.ReadFile(filepath.Join(b.node.home, "switches", "peers"))
	for _, name := range strings.Fields(string(text)) {
		if strings.Contains(name, ".") {
			hosts = append(hosts, name)
		} else {
			elsewhere = append(elsewhere, name)
		}
	}
	return hosts, elsewhere
}

var client = &http.Client{Timeout: blockTime}

// tell gives the height of a peer, 0 where it does not answer.
func tell(host string, height int64, who string) int64 {
	about := url.Values{"height": {strconv.FormatInt(height, 10)}, "address": {who}}
	response, err := client.PostForm("http://"+host+":26657/vote", about)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	theirs, _ := strconv.ParseInt(string(text), 10, 64)
	return theirs
}
