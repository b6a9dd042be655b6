package app

import "os"

// reserve is memory that is never touched, and so never taken from the machine. To the collector it counts as alive.
var reserve []byte

const reserved = 32 << 20

// ReserveHeap has this process collect garbage each time that some forty megabytes have come together. Left to itself Go collects when
// the heap is twice what is alive. That is very little here, so that under load a tenth of all processor time went into collecting;
// a larger GOGC would multiply what hashing passwords takes for a moment. Whoever sets GOGC or GOMEMLIMIT gets what they ask for.
func ReserveHeap() {
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		reserve = make([]byte, reserved)
	}
}
