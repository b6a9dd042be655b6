// Package internal_test holds what concerns the whole house: which package may import which.
package internal_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/comecomepay/comecomepay"

// neighbours are the rooms of one floor that a capability may enter: to read the table is to know who depends on whom.
// All capabilities stand on platform, provider, api and ledger. Where the need runs the other way, the lower
// capability declares a hook and app fills it.
var neighbours = map[string][]string{
	"identity": {},
	"rate":     {},
	"kyc":      {"identity"},
	"wallet":   {"identity", "rate"},
	"card":     {"kyc", "wallet"},
	"swap":     {"card", "rate"},
	"reward":   {"identity", "rate", "kyc", "wallet", "card"},
	"message":  {"identity"},
	"console":  {"identity", "rate", "kyc", "wallet", "card"},
}

// simulators speak one provider's protocol each and know nothing of one another; what joins them is in other packages of
// the sandbox.
var simulators = []string{"didit", "pokepay", "udun", "inbox"}

// wrong says why a package must not import another one of the module, or "". Both are paths relative to the module.
func wrong(from, to string) string {
	if testOnly(to) && !testOnly(from) && top(from) != "bench" {
		return "is for tests only"
	}
	at, aim := room(from), room(to)
	if at == "" {
		return "stands in no room of the house; give it one in this test"
	}
	if at == aim && at != "sandbox" && at != "provider" {
		return ""
	}
	var may bool
	switch at {
	case "main":
		may = aim == "cli"
	case "bench", "cli":
		may = aim != "main"
	case "app":
		may = aim != "main" && aim != "cli" && aim != "bench"
	case "platform":
		may = testOnly(from) && aim == "migrations"
	case "migrations":
	case "provider":
		// The clients share the package provider and do not know one another.
		may = aim == "platform" || to == "internal/provider"
	case "sandbox":
		may = aim == "platform" || to == "internal/sandbox/fault" || aim == "sandbox" && !slices.Contains(simulators, path.Base(from))
	case "api", "ledger":
		may = aim == "platform"
	default:
		_, capability := neighbours[at]
		may = capability && (slices.Contains([]string{"platform", "provider", "api", "ledger"}, aim) || slices.Contains(neighbours[at], aim))
	}
	if may {
		return ""
	}
	return "is not below it"
}

// room is where a package belongs: its directory below internal, or the part of the repository. Unknown rooms are "".
func room(pkg string) string {
	switch top(pkg) {
	case "cmd":
		return "main"
	case "bench", "migrations":
		return top(pkg)
	case "internal":
		name := top(strings.TrimPrefix(pkg, "internal/"))
		_, capability := neighbours[name]
		if capability || slices.Contains([]string{"platform", "provider", "api", "ledger", "sandbox", "app", "cli"}, name) {
			return name
		}
	}
	return ""
}

func top(pkg string) string {
	name, _, _ := strings.Cut(pkg, "/")
	return name
}

// testOnly tells whether a package helps tests, such as dbtest and browsertest.
func testOnly(pkg string) bool { return strings.HasSuffix(pkg, "test") }

// imports lists what each package of a tree imports from the module, in its files that are no tests.
func imports(root string) (map[string][]string, error) {
	found := map[string][]string{}
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != root && (strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		dir, err := filepath.Rel(root, filepath.Dir(name))
		if err != nil {
			return err
		}
		pkg := filepath.ToSlash(dir)
		found[pkg] = append(found[pkg], []string{}...)
		for _, spec := range file.Imports {
			target, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				return err
			}
			if inside, ok := strings.CutPrefix(target, module+"/"); ok {
				found[pkg] = append(found[pkg], inside)
			}
		}
		return nil
	})
	return found, err
}

// violations lists every wrong import of a tree.
func violations(root string) ([]string, error) {
	found, err := imports(root)
	if err != nil {
		return nil, err
	}
	var list []string
	for from, targets := range found {
		if room(from) == "" {
			list = append(list, from+": stands in no room of the house; give it one in this test")
			continue
		}
		slices.Sort(targets)
		for _, to := range slices.Compact(targets) {
			if why := wrong(from, to); why != "" {
				list = append(list, fmt.Sprintf("%s imports %s, which %s", from, to, why))
			}
		}
	}
	slices.Sort(list)
	return list, nil
}

func TestImportsRunDownward(t *testing.T) {
	list, err := violations("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range list {
		t.Error(v)
	}
}

// A package is named for what it holds.
func TestNoRoomForOddsAndEnds(t *testing.T) {
	found, err := imports("..")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 10 {
		t.Fatalf("only %d packages seen", len(found))
	}
	for pkg := range found {
		switch path.Base(pkg) {
		case "util", "utils", "helper", "helpers", "common", "manager", "managers", "misc", "shared":
			t.Errorf("%s: the name does not say what it holds", pkg)
		}
	}
}

func TestTheRuleItself(t *testing.T) {
	for _, tt := range []struct {
		from, to string
		allowed  bool
	}{
		{"internal/platform/db", "internal/platform/clock", true},
		{"internal/platform/db", "internal/provider", false},
		{"internal/platform/db", "migrations", false},
		{"internal/platform/db/dbtest", "migrations", true},
		{"internal/platform/db/dbtest", "internal/identity", false},
		{"internal/kyc", "internal/platform/db/dbtest", false},
		{"internal/sandbox", "internal/platform/browsertest", false},
		{"bench", "internal/platform/db/dbtest", true},
		{"internal/provider/didit", "internal/provider", true},
		{"internal/provider/didit", "internal/provider/pokepay", false},
		{"internal/provider", "internal/provider/didit", false},
		{"internal/provider/didit", "internal/api", false},
		{"internal/api", "internal/provider", false},
		{"internal/api", "internal/identity", false},
		{"internal/ledger", "internal/platform/db", true},
		{"internal/ledger", "internal/api", false},
		{"internal/ledger", "internal/wallet", false},
		{"internal/kyc", "internal/provider/didit", true},
		{"internal/kyc", "internal/identity", true},
		{"internal/kyc", "internal/wallet", false},
		{"internal/kyc", "internal/sandbox/didit", false},
		{"internal/kyc", "internal/app", false},
		{"internal/identity", "internal/kyc", false},
		{"internal/identity", "internal/api", true},
		{"internal/wallet", "internal/rate", true},
		{"internal/card", "internal/wallet", true},
		{"internal/wallet", "internal/card", false},
		{"internal/swap", "internal/card", true},
		{"internal/card", "internal/swap", false},
		{"internal/console", "internal/swap", false},
		{"internal/console", "internal/reward", false},
		{"internal/console", "internal/message", false},
		{"internal/message", "internal/console", false},
		{"internal/app", "internal/swap", true},
		{"internal/app", "internal/console", true},
		{"internal/app", "internal/sandbox/didit", true},
		{"internal/app", "internal/cli", false},
		{"internal/cli", "internal/app", true},
		{"internal/sandbox/didit", "internal/sandbox/fault", true},
		{"internal/sandbox/didit", "internal/sandbox/pokepay", false},
		{"internal/sandbox/didit", "internal/provider/didit", false},
		{"internal/sandbox/didit", "internal/kyc", false},
		{"internal/sandbox/control", "internal/sandbox/pokepay", true},
		{"internal/sandbox/control", "internal/api", false},
		{"internal/sandbox", "internal/sandbox/inbox", true},
		{"cmd/comecomepay", "internal/cli", true},
		{"cmd/comecomepay", "internal/app", false},
		{"internal/cli", "cmd/comecomepay", false},
		{"migrations", "internal/platform/db", false},
		{"internal/attic", "internal/platform/db", false},
		{"internal/kyc", "internal/attic", false},
	} {
		if why := wrong(tt.from, tt.to); (why == "") != tt.allowed {
			t.Errorf("%s imports %s: allowed should be %t, the rule says %q", tt.from, tt.to, tt.allowed, why)
		}
	}
}

// The whole check, from files to complaints, on a house that is built wrong on purpose.
func TestAWrongImportIsFound(t *testing.T) {
	root := t.TempDir()
	for name, content := range map[string]string{
		"internal/kyc/model.go":       "package kyc\n\nimport (\n\t\"fmt\"\n\t\"" + module + "/internal/identity\"\n)\n",
		"internal/identity/model.go":  "package identity\n\nimport _ \"" + module + "/internal/kyc\"\n",
		"internal/platform/x/x.go":    "package x\n\nimport api \"" + module + "/internal/api\"\n",
		"internal/api/http.go":        "package api\n",
		"internal/api/http_test.go":   "package api\n\nimport _ \"" + module + "/internal/kyc\"\n",
		"internal/cellar/cellar.go":   "package cellar\n",
		"internal/kyc/testdata/no.go": "package no\n\nimport _ \"" + module + "/internal/app\"\n",
	} {
		file := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := violations(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"internal/cellar: stands in no room of the house; give it one in this test",
		"internal/identity imports internal/kyc, which is not below it",
		"internal/platform/x imports internal/api, which is not below it",
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
