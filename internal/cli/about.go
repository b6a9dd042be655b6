package cli

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"text/tabwriter"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/comecomepay/comecomepay/internal/app"
)

type configCommand struct{}

// Run prints the settings in effect.
func (configCommand) Run(p Program) error {
	c, err := p.config()
	if err != nil {
		return err
	}
	var table bytes.Buffer
	w := tabwriter.NewWriter(&table, 0, 0, 2, ' ', 0)
	group := ""
	for _, s := range c.Effective() {
		if s.Group != group {
			if group != "" {
				fmt.Fprintln(w)
			}
			group = s.Group
			fmt.Fprintf(w, "# %s\n", group)
		}
		fmt.Fprintf(w, "%s=%s\t# %s\n", s.Name, s.Value, s.Source)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return p.print("%s", table.String())
}

type openAPICommand struct{}

// Run prints the description of the API.
func (openAPICommand) Run(p Program) error {
	text, err := app.OpenAPI()
	if err != nil {
		return err
	}
	return p.print("%s", text)
}

type versionCommand struct{}

// Run prints which build this is.
func (versionCommand) Run(p Program) error {
	b := app.ReadBuild()
	revision := b.Revision
	if revision == "" {
		revision = "unknown"
	}
	if b.Modified {
		revision += ", with changes"
	}
	return p.print("comecomepay %s (revision %s, %s)\n", b.Version, revision, b.Go)
}

type keysCommand struct{}

// Run prints keys that nobody else has, as lines for an environment file.
func (keysCommand) Run(ctx context.Context, p Program) error {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return fmt.Errorf("data keyset: %w", err)
	}
	var plain bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewJSONWriter(&plain)); err != nil {
		return fmt.Errorf("data keyset: %w", err)
	}
	random := func() string {
		b := make([]byte, 32)
		rand.Read(b)
		return base64.StdEncoding.EncodeToString(b)
	}
	return p.print("CCP_TOKEN_KEYS=%s:%s\nCCP_DATA_KEYSET=%s\nCCP_HASH_KEY=%s\n",
		time.Now().UTC().Format("20060102"), random(), base64.StdEncoding.EncodeToString(plain.Bytes()), random())
}

type migrateCommand struct {
	Status  bool   `help:"Only tell which version the database is at." xor:"what"`
	GrantTo string `help:"Give a PostgreSQL role, which the program is to serve under, the rights it needs and no more." xor:"what" placeholder:"ROLE"`
}

// Run brings the database up to date.
func (m migrateCommand) Run(ctx context.Context, p Program) error {
	c, err := p.config()
	if err != nil {
		return err
	}
	open := c.OpenDatabase
	if m.Status {
		open = c.OpenExistingDatabase
	}
	d, err := open(ctx)
	if err != nil {
		return err
	}
	defer d.Close()
	if m.Status {
		current, needed, err := app.SchemaVersions(ctx, d)
		if err != nil {
			return err
		}
		word := "up to date"
		switch {
		case current < needed:
			word = "behind"
		case current > needed:
			word = "of a newer release"
		}
		return p.print("schema %d, this program needs %d: %s\n", current, needed, word)
	}
	applied, err := app.Migrate(ctx, d)
	if err != nil {
		return err
	}
	if m.GrantTo != "" {
		if err := app.Grant(ctx, d, m.GrantTo); err != nil {
			return err
		}
		if err := p.print("role %s may serve\n", m.GrantTo); err != nil {
			return err
		}
	}
	if len(applied) == 0 {
		return p.print("the database is up to date\n")
	}
	return p.print("applied %v\n", applied)
}
