package identity

import (
	"context"
	"strings"
	"time"

	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// deviceFamily is a User-Agent without its version numbers: an update of the browser is not a new device.
func deviceFamily(agent string) string {
	digit := func(r rune) bool { return '0' <= r && r <= '9' || r == '.' || r == '_' }
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if digit(r) {
			return -1
		}
		return r
	}, strings.ToLower(agent))), " ")
}

// Words of User-Agents and what people call them. Order matters: most browsers name others as well.
var (
	programs = [][2]string{
		{"edg", "Edge"}, {"opr/", "Opera"}, {"micromessenger", "WeChat"}, {"firefox", "Firefox"}, {"fxios", "Firefox"},
		{"crios", "Chrome"}, {"chrome", "Chrome"}, {"safari", "Safari"}, {"dart", "App"}, {"okhttp", "App"}, {"cfnetwork", "App"}, {"curl", "curl"},
	}
	systems = [][2]string{
		{"iphone", "iPhone"}, {"ipad", "iPad"}, {"android", "Android"}, {"harmonyos", "HarmonyOS"}, {"windows", "Windows"},
		{"mac os", "Mac"}, {"darwin", "Apple"}, {"linux", "Linux"},
	}
)

// deviceName is what people call a device: "Chrome, Windows"; empty if the User-Agent tells nothing. It is made of known
// words only, so that nobody can write into a customer's mail through this header.
func deviceName(agent string) string {
	agent = strings.ToLower(agent)
	var parts []string
	for _, names := range [][][2]string{programs, systems} {
		for _, n := range names {
			if strings.Contains(agent, n[0]) {
				parts = append(parts, n[1])
				break
			}
		}
	}
	return strings.Join(parts, ", ")
}

// noteDevice remembers the device of a sign-in and announces one that the customer has not used before by mail, unless
// it is their first.
func (s *Service) noteDevice(ctx context.Context, tx db.Tx, u userRow, client Client, now time.Time) error {
	isNew, first, err := rememberDevice(ctx, tx, u.id, s.vault.Hash("device", deviceFamily(client.Agent)), now)
	if err != nil || !isNew || first {
		return err
	}
	u.locale = string(s.locale(client.Locale))
	return s.notify(ctx, tx, u, "new_device", map[string]any{"Device": deviceName(client.Agent), "Time": mailTime(now)})
}

// mailTime is a time as mail shows it.
func mailTime(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
