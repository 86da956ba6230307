// Command hammer makes load over HTTP and receives callbacks, for `python -m benchmarks`, which builds and runs it.
//
//	hammer load -base http://127.0.0.1:8080/goscheduler -do create ...   prints one line of JSON at its end
//	hammer sink -addr 127.0.0.1:9999                                     until it is ended
package main

import (
	"fmt"
	"os"
)

func main() {
	if len(os.Args) < 2 {
		fail("load or sink?")
	}
	switch os.Args[1] {
	case "load":
		runLoad(os.Args[2:])
	case "sink":
		runSink(os.Args[2:])
	default:
		fail("load or sink, not " + os.Args[1])
	}
}

func fail(about any) {
	fmt.Fprintln(os.Stderr, "hammer:", about)
	os.Exit(2)
}
