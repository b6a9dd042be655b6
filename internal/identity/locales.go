package identity

import "embed"

// Locales are the texts of this capability.
//
//go:embed locales
var Locales embed.FS
