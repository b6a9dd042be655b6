//go:build race

package cli

// raceDetector: the program runs several times slower.
const raceDetector = true
