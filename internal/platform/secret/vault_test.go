package secret_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

func newKeyset(t testing.TB) secret.Text {
	t.Helper()
	k, err := secret.NewKeyset()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func newVault(t testing.TB, keyset, hashKey secret.Text) *secret.Vault {
	t.Helper()
	v, err := secret.NewVault(keyset, hashKey)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

var here = secret.Place{Table: "users", Column: "email", Row: "r1"}

func TestSealedOpensInItsPlaceOnly(t *testing.T) {
	v := newVault(t, newKeyset(t), secret.NewKey())
	for _, plain := range []string{"", canary, "名字 🙂 اسم", strings.Repeat("x", 1<<16), "\x00\xff"} {
		sealed, err := v.Seal([]byte(plain), here)
		if err != nil {
			t.Fatal(err)
		}
		if plain != "" && bytes.Contains(sealed, []byte(plain)) {
			t.Error("the seal shows the content")
		}
		got, err := v.Open(sealed, here)
		if err != nil || string(got) != plain {
			t.Errorf("opened %q, %v", got, err)
		}
		again, err := v.Seal([]byte(plain), here)
		if err != nil || bytes.Equal(again, sealed) {
			t.Errorf("two seals of one value are equal: it can be recognised (%v)", err)
		}
		for name, at := range map[string]secret.Place{
			"table": {Table: "registrations", Column: "email", Row: "r1"}, "column": {Table: "users", Column: "phone", Row: "r1"},
			"row": {Table: "users", Column: "email", Row: "r2"}, "nowhere": {},
			// The same letters, cut elsewhere.
			"cut": {Table: "userse", Column: "mail", Row: "r1"},
		} {
			if _, err := v.Open(sealed, at); err == nil {
				t.Errorf("opened with another %s", name)
			}
		}
		for i := range sealed {
			if i > 64 {
				break
			}
			forged := slices.Clone(sealed)
			forged[i] ^= 1
			if _, err := v.Open(forged, here); err == nil {
				t.Errorf("opened with byte %d changed", i)
			}
		}
		if _, err := v.Open(sealed[:len(sealed)-1], here); err == nil {
			t.Error("opened with the last byte missing")
		}
	}
	for _, junk := range [][]byte{nil, {}, {1}, []byte(canary)} {
		if _, err := v.Open(junk, here); err == nil {
			t.Errorf("opened %q", junk)
		} else if strings.Contains(err.Error(), canary) {
			t.Errorf("the error repeats the content: %v", err)
		}
	}
}

func TestSealedTextKeepsEmptyAsNull(t *testing.T) {
	v := newVault(t, newKeyset(t), secret.NewKey())
	if sealed, err := v.SealText("", here); err != nil || sealed != nil {
		t.Errorf("empty text became %v, %v", sealed, err)
	}
	if plain, err := v.OpenText(nil, here); err != nil || plain != "" {
		t.Errorf("NULL became %q, %v", plain, err)
	}
	sealed, err := v.SealText(canary, here)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := v.OpenText(sealed, here); err != nil || plain != canary {
		t.Errorf("opened %q, %v", plain, err)
	}
	if _, err := v.OpenText([]byte{}, here); err == nil {
		t.Error("an empty seal, which we never write, opened")
	}
}

// Rotation: a second key joins, becomes the primary one, and what the first sealed still opens.
func TestKeysRotate(t *testing.T) {
	type key = map[string]any
	read := func(text secret.Text) (set struct {
		PrimaryKeyID any   `json:"primaryKeyId"`
		Key          []key `json:"key"`
	}) {
		if err := json.Unmarshal([]byte(text.Reveal()), &set); err != nil {
			t.Fatal(err)
		}
		return set
	}
	hashKey := secret.NewKey()
	first, second := newKeyset(t), newKeyset(t)
	a, b := read(first), read(second)
	joined := func(primary any) *secret.Vault {
		text, err := json.Marshal(map[string]any{"primaryKeyId": primary, "key": append(slices.Clone(a.Key), b.Key...)})
		if err != nil {
			t.Fatal(err)
		}
		return newVault(t, secret.NewText(string(text)), hashKey)
	}
	before, announced, rotated, after := newVault(t, first, hashKey), joined(a.PrimaryKeyID), joined(b.PrimaryKeyID), newVault(t, second, hashKey)
	for _, tt := range []struct {
		name          string
		seals, opens  *secret.Vault
		shouldSucceed bool
	}{
		{"old value, rotated replica", before, rotated, true},
		{"value of a rotated replica, one that only knows of the new key", rotated, announced, true},
		{"value of a replica that knows of the new key, one that does not", announced, before, true},
		{"new value, old key gone", rotated, after, true},
		{"old value, old key gone", before, after, false},
		{"new value, new key unknown", rotated, before, false},
	} {
		sealed, err := tt.seals.Seal([]byte(canary), here)
		if err != nil {
			t.Fatal(err)
		}
		plain, err := tt.opens.Open(sealed, here)
		if (err == nil) != tt.shouldSucceed || tt.shouldSucceed && string(plain) != canary {
			t.Errorf("%s: %q, %v", tt.name, plain, err)
		}
	}
	if !bytes.Equal(before.Hash("p", "x"), after.Hash("p", "x")) {
		t.Error("rotating the data key changed the blind index")
	}
}

func TestBadKeysAreRefusedAndNotRepeated(t *testing.T) {
	good, hashKey := newKeyset(t), secret.NewKey()
	var set map[string]any
	if err := json.Unmarshal([]byte(good.Reveal()), &set); err != nil {
		t.Fatal(err)
	}
	material := set["key"].([]any)[0].(map[string]any)["keyData"].(map[string]any)["value"].(string)
	change := func(f func(key, data map[string]any)) secret.Text {
		var copied map[string]any
		_ = json.Unmarshal([]byte(good.Reveal()), &copied)
		key := copied["key"].([]any)[0].(map[string]any)
		f(key, key["keyData"].(map[string]any))
		text, _ := json.Marshal(copied)
		return secret.NewText(string(text))
	}
	for name, keyset := range map[string]secret.Text{
		"none": {}, "not JSON": secret.NewText("k" + material), "cut short": secret.NewText(good.Reveal()[:len(good.Reveal())-3]),
		"no keys": secret.NewText(`{"primaryKeyId":1,"key":[]}`), "another kind": secret.NewText(`{"` + material + `":1}`),
		"disabled":      change(func(key, _ map[string]any) { key["status"] = "DISABLED" }),
		"not AEAD":      change(func(_, data map[string]any) { data["typeUrl"] = "type.googleapis.com/google.crypto.tink.HmacKey" }),
		"broken key":    change(func(_, data map[string]any) { data["value"] = "AAAA" + material }),
		"no primary id": change(func(key, _ map[string]any) { key["keyId"] = 1 }),
	} {
		_, err := secret.NewVault(keyset, hashKey)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), material) {
			t.Errorf("%s: the error repeats the key: %v", name, err)
		}
	}
	short := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, secret.MinHashKey-1))
	for name, key := range map[string]string{"none": "", "short": short, "not base64": strings.Repeat("!", 60), "URL alphabet": strings.Repeat("_-", 30)} {
		_, err := secret.NewVault(good, secret.NewText(key))
		if err == nil {
			t.Errorf("hash key %s: accepted", name)
		} else if key != "" && strings.Contains(err.Error(), key) {
			t.Errorf("hash key %s: the error repeats it: %v", name, err)
		}
	}
}

// Hashes are equal exactly if key, purpose and parts are; how the parts are cut matters.
func TestHashesKeepPurposesAndPartsApart(t *testing.T) {
	v, other := newVault(t, newKeyset(t), secret.NewKey()), newVault(t, newKeyset(t), secret.NewKey())
	// A small alphabet, so that the same letters cut differently come up often.
	part := rapid.StringMatching(`[ab\x00]{0,3}`)
	parts := rapid.SliceOfN(part, 0, 3)
	rapid.Check(t, func(t *rapid.T) {
		p1, p2 := part.Draw(t, "purpose"), part.Draw(t, "other purpose")
		a, b := parts.Draw(t, "parts"), parts.Draw(t, "other parts")
		same := p1 == p2 && slices.Equal(a, b)
		if bytes.Equal(v.Hash(p1, a...), v.Hash(p2, b...)) != same {
			t.Fatalf("%q %q and %q %q: equal hashes should be %t", p1, a, p2, b, same)
		}
		if bytes.Equal(v.Hash(p1, a...), other.Hash(p1, a...)) {
			t.Fatal("hashes of two keys are equal")
		}
		if !bytes.Equal(v.Hash(p1, a...), v.Hash(p1, a...)) || len(v.Hash(p1, a...)) != 32 {
			t.Fatal("a hash is not 32 bytes that come out the same each time")
		}
	})
	if bytes.Equal(v.Derive("a"), v.Derive("b")) || !bytes.Equal(v.Derive("a"), v.Derive("a")) || len(v.Derive("a")) != 32 || bytes.Equal(v.Derive("a"), v.Hash("a")) {
		t.Error("derived keys are not apart")
	}
}

func TestNewKeysAreUsableAndDifferent(t *testing.T) {
	if newKeyset(t) == newKeyset(t) || secret.NewKey() == secret.NewKey() {
		t.Error("two new keys are equal")
	}
	newVault(t, newKeyset(t), secret.NewKey())
}
