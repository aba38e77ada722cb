//go:build !linux

package boinc

// processStart is not known here: a reused PID is then taken for the old process.
func processStart(int) string { return "" }

// BootID is not known here: exited containers are then started again.
func BootID() string { return "" }
