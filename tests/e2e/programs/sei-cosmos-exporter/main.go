// Sei-cosmos-exporter stands in for the exporter of the same name: it listens, and has one metric.
package main

import (
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	address := flag.String("listen-address", ":9300", "where to listen")
	for _, ignored := range []string{"denom", "denom-coefficient", "bech-prefix"} {
		flag.String(ignored, "", "not used")
	}
	flag.Parse()
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		log.Fatal(http.ListenAndServe(*address, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprintln(w, "cosmos_exporter_up 1")
		})))
	}()
	<-stop
}
