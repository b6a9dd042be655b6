package internal_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// A page that sends its reader to a file that has moved is worse than none.
func TestPagesNameWhatExists(t *testing.T) {
	pages, err := filepath.Glob("../docs/*.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, page := range append(pages, "../CONTRIBUTING.md", "../README.md") {
		content, err := os.ReadFile(page)
		if err != nil {
			if strings.HasSuffix(page, "README.md") && os.IsNotExist(err) {
				continue
			}
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile("`((?:internal|cmd|migrations|docs|bench)(?:/[A-Za-z0-9_./-]+)?/?)`").FindAllStringSubmatch(string(content), -1) {
			seen++
			if _, err := os.Stat(filepath.Join("..", name[1])); err != nil {
				t.Errorf("%s names %s, which does not exist", filepath.Base(page), name[1])
			}
		}
		for _, link := range regexp.MustCompile(`\]\(([^)#:]+)(?:#[^)]*)?\)`).FindAllStringSubmatch(string(content), -1) {
			seen++
			if _, err := os.Stat(filepath.Join(filepath.Dir(page), link[1])); err != nil {
				t.Errorf("%s links to %s, which does not exist", filepath.Base(page), link[1])
			}
		}
	}
	if seen < 20 {
		t.Errorf("only %d names and links found: the search is wrong", seen)
	}
}
