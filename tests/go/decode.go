// Reads answers of /varz, /connz, /subsz and /routez into the types of nats-server itself and writes
// out what it has understood: one line of JSON each, in the same order.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/nats-io/nats-server/server"
)

func main() {
	answers := json.NewDecoder(os.Stdin)
	understood := json.NewEncoder(os.Stdout)
	for _, into := range []interface{}{
		&server.Varz{}, &server.Connz{}, &server.Subsz{}, &server.Routez{},
	} {
		if err := answers.Decode(into); err != nil {
			fmt.Fprintf(os.Stderr, "%T: %v\n", into, err)
			os.Exit(1)
		}
		if err := understood.Encode(into); err != nil {
			fmt.Fprintf(os.Stderr, "%T: %v\n", into, err)
			os.Exit(1)
		}
	}
}
