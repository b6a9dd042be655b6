// Command comecomepay is the backend of a crypto-funded card wallet, and the sandbox to try it in.
package main

import (
	"os"

	"github.com/comecomepay/comecomepay/internal/cli"
)

func main() { os.Exit(cli.Main()) }
