//go:build race

package money_test

const raceDetector = true
