package didit

import (
	"crypto/hmac"
	"errors"
	"fmt"
	"hash/fnv"
	"image"
	"image/color"
	"image/png"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// imageKinds are the pictures of a finished session and their size in pixels.
var imageKinds = map[string]image.Point{
	"portrait": {160, 200}, "selfie": {200, 260},
	"front": {320, 204}, "back": {320, 204},
	"full_front": {400, 280}, "full_back": {400, 280},
}

const presignDate = "20060102T150405Z"

// presign makes a link to a picture that works until its life is over, in the form of a presigned S3 link.
func (s *Simulator) presign(session, kind string) string {
	path := "/images/" + session + "/" + kind + ".png"
	date := s.clock.Now().Format(presignDate)
	life := strconv.Itoa(int(s.imageLife / time.Second))
	q := url.Values{
		"X-Amz-Algorithm":     {"AWS4-HMAC-SHA256"},
		"X-Amz-Date":          {date},
		"X-Amz-Expires":       {life},
		"X-Amz-SignedHeaders": {"host"},
		"X-Amz-Signature":     {mac(s.imageKey, []byte(path+"\n"+date+"\n"+life))},
	}
	return s.baseURL + path + "?" + q.Encode()
}

// image serves a presigned link: 403 when the signature is wrong or the link's life is over, 404 when the
// session is gone; both as S3's XML.
func (s *Simulator) image(w http.ResponseWriter, r *http.Request) {
	session, file := r.PathValue("session"), r.PathValue("file")
	kind := strings.TrimSuffix(file, ".png")
	q := r.URL.Query()
	date, life := q.Get("X-Amz-Date"), q.Get("X-Amz-Expires")
	want := mac(s.imageKey, []byte("/images/"+session+"/"+file+"\n"+date+"\n"+life))
	if !hmac.Equal([]byte(want), []byte(q.Get("X-Amz-Signature"))) {
		refuseImage(w, http.StatusForbidden, "SignatureDoesNotMatch", "The request signature does not match.")
		return
	}
	from, err := time.Parse(presignDate, date)
	seconds, err2 := strconv.Atoi(life)
	if err != nil || err2 != nil || s.clock.Now().After(from.Add(time.Duration(seconds)*time.Second)) {
		refuseImage(w, http.StatusForbidden, "AccessDenied", "Request has expired")
		return
	}
	size, ok := imageKinds[kind]
	if _, err := s.session(r.Context(), session); err != nil || !ok {
		if err != nil && !errors.Is(err, ErrNotFound) {
			s.fail(w, r, err)
			return
		}
		refuseImage(w, http.StatusNotFound, "NoSuchKey", "The specified key does not exist.")
		return
	}
	w.Header().Set("Content-Type", "image/png")
	w.Header().Set("Cache-Control", "private, no-store")
	if err := png.Encode(w, draw(session, kind, size)); err != nil {
		s.log.DebugContext(r.Context(), "image not sent", "session_id", session, "error", err)
	}
}

func refuseImage(w http.ResponseWriter, status int, code, message string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>%s</Code><Message>%s</Message></Error>", code, message)
}

// draw paints a card or a face that is the same for the same session, with stripes that say it is not real.
func draw(session, kind string, size image.Point) image.Image {
	h := fnv.New32a()
	h.Write([]byte(session))
	seed := h.Sum32()
	tint := color.RGBA{uint8(150 + seed%80), uint8(160 + seed>>8%70), uint8(170 + seed>>16%70), 255}
	ink := color.RGBA{uint8(30 + seed>>4%60), uint8(40 + seed>>12%60), uint8(80 + seed>>20%60), 255}
	skin := color.RGBA{uint8(180 + seed>>6%60), uint8(140 + seed>>14%50), uint8(110 + seed>>22%50), 255}

	picture := image.NewRGBA(image.Rectangle{Max: size})
	face := image.Rect(size.X/5, size.Y/8, size.X*4/5, size.Y*3/4) // fills a portrait
	card := kind != "portrait" && kind != "selfie"
	if card {
		face = image.Rect(size.X/14, size.Y/4, size.X/3, size.Y*4/5)
	}
	for y := range size.Y {
		for x := range size.X {
			c := tint
			switch {
			case (x+y)%48 < 3:
				c = color.RGBA{255, 255, 255, 255}
			case card && y < size.Y/6:
				c = ink
			case card && x > size.X/2 && x < size.X*12/13 && y > size.Y/4 && y < size.Y*5/6 && y*12/size.Y%2 == 0:
				c = ink
			case !strings.HasSuffix(kind, "back") && inOval(x, y, face):
				c = skin
			}
			picture.SetRGBA(x, y, c)
		}
	}
	return picture
}

func inOval(x, y int, r image.Rectangle) bool {
	dx, dy := 2*x-r.Min.X-r.Max.X, 2*y-r.Min.Y-r.Max.Y
	w, h := r.Dx(), r.Dy()
	return dx*dx*h*h+dy*dy*w*w <= w*w*h*h
}
