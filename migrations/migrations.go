// Package migrations holds the schema, one set of files for both engines; platform/db replaces the few words
// that differ. A migration that has been released is never edited: a change is a new file.
package migrations

import "embed"

// Files are the migrations.
//
//go:embed *.sql
var Files embed.FS
