package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	listed     = 100                 // GET /v0/tasks shows the newest
	taskHeader = "X-Standin-Task"    // names the type of a posted task in the request log
	idHeader   = "X-Standin-Task-Id" // and its id
)

var uuid = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

type task struct {
	ID          string `json:"id"`
	Type        string `json:"type"`
	Status      string `json:"status"`
	CreatedAt   string `json:"createdAt"`
	CompletedAt string `json:"completedAt,omitempty"`
}

// tasks are all that were ever posted and not deleted or purged, oldest first, in a file.
type tasks struct {
	mu   sync.Mutex
	path string
	all  []task
}

func open(path string) (*tasks, error) {
	t := &tasks{path: path, all: []task{}}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err != nil {
		return nil, err
	}
	return t, json.Unmarshal(text, &t.all)
}

// save writes beside the file and moves it there: a killed sidecar leaves a whole one.
func (t *tasks) save() error {
	if err := os.WriteFile(t.path+".new", encode(t.all), 0o666); err != nil {
		return err
	}
	return os.Rename(t.path+".new", t.path)
}

func (t *tasks) collection(ready *atomic.Bool) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		switch r.Method {
		case http.MethodGet:
			answer(w, http.StatusOK, t.newest())
		case http.MethodPost:
			t.post(w, r, ready)
		default:
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
}

func (t *tasks) one() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		t.mu.Lock()
		defer t.mu.Unlock()
		i := t.find(r.PathValue("id"))
		switch {
		case i < 0:
			answer(w, http.StatusNotFound, map[string]string{"error": "task not found"})
		case r.Method == http.MethodGet:
			answer(w, http.StatusOK, t.all[i])
		case r.Method == http.MethodDelete:
			t.all = append(t.all[:i], t.all[i+1:]...)
			if err := t.save(); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			w.WriteHeader(http.StatusNoContent)
		default:
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
		}
	})
}

// post runs a task at once. A completed id is a silent no-op, also after a restart. Params may say how a task of
// another type ends: {"outcome": "running"} or {"outcome": "failed"}.
func (t *tasks) post(w http.ResponseWriter, r *http.Request, ready *atomic.Bool) {
	var wanted struct {
		ID     string            `json:"id"`
		Type   string            `json:"type"`
		Params map[string]string `json:"params"`
	}
	if err := json.NewDecoder(r.Body).Decode(&wanted); err != nil || wanted.Type == "" {
		answer(w, http.StatusBadRequest, map[string]string{"error": "a task needs a type"})
		return
	}
	id := strings.ToLower(wanted.ID)
	if id == "" {
		id = newID()
	}
	if !uuid.MatchString(id) {
		answer(w, http.StatusBadRequest, map[string]string{"error": "the id is no UUID"})
		return
	}
	w.Header().Set(taskHeader, wanted.Type)
	w.Header().Set(idHeader, id)
	at := t.find(id)
	if at < 0 || t.all[at].Status != "completed" {
		now := time.Now().UTC().Format(time.RFC3339)
		done := task{ID: id, Type: wanted.Type, Status: "completed", CreatedAt: now, CompletedAt: now}
		switch outcome := wanted.Params["outcome"]; {
		case wanted.Type == "mark-ready":
			ready.Store(true)
		case wanted.Type == "mark-not-ready":
			ready.Store(false)
			t.purge("mark-ready")
		case outcome == "running":
			done.Status, done.CompletedAt = outcome, ""
		case outcome == "failed":
			done.Status = outcome
		}
		t.put(done)
		if err := t.save(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	answer(w, http.StatusCreated, map[string]string{"id": id})
}

func (t *tasks) put(done task) {
	if i := t.find(done.ID); i >= 0 {
		t.all = append(t.all[:i], t.all[i+1:]...)
	}
	t.all = append(t.all, done)
}

func (t *tasks) purge(kind string) {
	kept := []task{}
	for _, each := range t.all {
		if each.Type != kind {
			kept = append(kept, each)
		}
	}
	t.all = kept
}

func (t *tasks) find(id string) int {
	for i, each := range t.all {
		if each.ID == id {
			return i
		}
	}
	return -1
}

func (t *tasks) newest() []task {
	found := []task{}
	for i := len(t.all) - 1; i >= 0 && len(found) < listed; i-- {
		found = append(found, t.all[i])
	}
	return found
}

func newID() string {
	b := make([]byte, 16)
	_, _ = rand.Read(b)
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

func answer(w http.ResponseWriter, status int, value any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(encode(value))
}

func encode(value any) []byte {
	var text bytes.Buffer
	if err := json.NewEncoder(&text).Encode(value); err != nil {
		return []byte("{}\n")
	}
	return text.Bytes()
}
