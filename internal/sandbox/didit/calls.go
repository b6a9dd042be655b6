package didit

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/http"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"
)

const (
	maxVendorData  = 512 // characters
	maxPortrait    = 1 << 20
	pageSize       = 20
	maxPageSize    = 500
	rerunEvery     = 30 * time.Second
	requiredText   = "This field is required."
	stringText     = "Not a valid string."
	urlText        = "Enter a valid URL."
	dictionaryText = "Expected a dictionary of items."
)

var (
	languageForm = regexp.MustCompile(`^[A-Za-z]{2}([-_][A-Za-z]{2,4})?$`)
	countryForm  = regexp.MustCompile(`^[A-Z]{3}$`)
	phoneForm    = regexp.MustCompile(`^\+[1-9][0-9]{6,14}$`)
)

func (s *Simulator) createSession(w http.ResponseWriter, r *http.Request) {
	s.create(w, r, false)
}

// createLegacySession is the v2 twin. The oldest form names features instead of a workflow and is answered with
// session_url instead of url.
func (s *Simulator) createLegacySession(w http.ResponseWriter, r *http.Request) {
	s.create(w, r, true)
}

func (s *Simulator) create(w http.ResponseWriter, r *http.Request, legacy bool) {
	in, err := body(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_, named := in["workflow_id"]
	_, features := in["features"].(string)
	oldest := legacy && features && !named
	if oldest {
		in["workflow_id"] = s.workflow
	}
	want, err := s.readCreate(in)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	x, err := s.open(r.Context(), want)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	metadata, err := stored(x.metadata)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	out := map[string]any{
		"session_id": x.id, "session_number": x.number, "session_token": x.token, "session_kind": "user", "url": s.url(x),
		"vendor_data": orNull(x.vendorData), "metadata": metadata, "status": x.status, "workflow_id": x.workflowID,
		"workflow_version": x.workflowVersion, "callback": orNull(x.callback),
	}
	if oldest {
		delete(out, "url")
		out["session_url"] = s.url(x)
	}
	answer(w, http.StatusCreated, out)
}

// readCreate checks the body of a create call (provider/didit.md 2.1).
func (s *Simulator) readCreate(in map[string]any) (session, error) {
	var want session
	var err error
	workflowID, ok := in["workflow_id"].(string)
	if in["workflow_id"] == nil {
		return want, invalid("workflow_id", requiredText)
	}
	if _, err := uuid.Parse(workflowID); !ok || err != nil {
		return want, invalid("workflow_id", "Must be a valid UUID.")
	}
	if !strings.EqualFold(workflowID, s.workflow) {
		return want, invalid("workflow_id", "Workflow not found or not published.")
	}
	want.workflowID = s.workflow

	if want.vendorData, err = textOf(in, "vendor_data"); err != nil {
		return want, err
	}
	if utf8.RuneCountInString(want.vendorData) > maxVendorData {
		return want, invalid("vendor_data", "Ensure this field has no more than 512 characters.")
	}
	if want.callback, err = textOf(in, "callback"); err != nil {
		return want, err
	}
	if want.callback != "" && !validCallback(want.callback) {
		return want, invalid("callback", urlText)
	}
	if method, err := textOf(in, "callback_method"); err != nil {
		return want, err
	} else if method != "" && !slices.Contains([]string{"initiator", "completer", "both"}, method) {
		return want, invalid("callback_method", fmt.Sprintf("%q is not a valid choice.", method))
	}
	if want.language, err = textOf(in, "language"); err != nil {
		return want, err
	}
	if want.language != "" && !languageForm.MatchString(want.language) {
		return want, invalid("language", fmt.Sprintf("%q is not a valid choice.", want.language))
	}
	if want.metadata, err = metadataOf(in["metadata"]); err != nil {
		return want, err
	}
	if want.contact, err = detailsOf(in, "contact_details", checkContact); err != nil {
		return want, err
	}
	if want.expected, err = detailsOf(in, "expected_details", checkExpected); err != nil {
		return want, err
	}
	portrait, err := textOf(in, "portrait_image")
	if err != nil {
		return want, err
	}
	if len(portrait) > maxPortrait*4/3+4 {
		return want, invalid("portrait_image", "The image must not be larger than 1 MB.")
	}
	return want, nil
}

// textOf reads an optional string; null counts as left out, and a number as its digits.
func textOf(in map[string]any, field string) (string, error) {
	switch v := in[field].(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		return v.String(), nil
	}
	return "", invalid(field, stringText)
}

// metadataOf takes an object or, as the older documentation has it, the JSON text of one; it is given back as
// it came.
func metadataOf(v any) (string, error) {
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		if _, err := decodeObject(v); v == "" || err != nil {
			return "", invalid("metadata", "Value must be valid JSON.")
		}
	case map[string]any:
	default:
		return "", invalid("metadata", dictionaryText)
	}
	text, err := encodeJSON(v, answerStyle)
	if err != nil {
		return "", invalid("metadata", "Value must be valid JSON.")
	}
	return string(text), nil
}

// detailsOf reads an optional object whose fields check approves of.
func detailsOf(in map[string]any, field string, check func(map[string]any) error) (string, error) {
	if in[field] == nil {
		return "", nil
	}
	object, ok := in[field].(map[string]any)
	if !ok {
		return "", invalid(field, dictionaryText)
	}
	if err := check(object); err != nil {
		return "", err
	}
	text, err := encodeJSON(object, answerStyle)
	if err != nil {
		return "", invalid(field, "Value must be valid JSON.")
	}
	return string(text), nil
}

func checkContact(in map[string]any) error {
	email, err := textOf(in, "email")
	if err != nil {
		return err
	}
	if email != "" {
		if _, err := mail.ParseAddress(email); err != nil {
			return invalid("email", "Enter a valid email address.")
		}
	}
	phone, err := textOf(in, "phone")
	if err != nil {
		return err
	}
	if phone != "" && !phoneForm.MatchString(phone) {
		return invalid("phone", "The phone number must be in E.164 format.")
	}
	if send, given := in["send_notification_emails"]; given {
		if _, ok := send.(bool); !ok {
			return invalid("send_notification_emails", "Must be a valid boolean.")
		}
	}
	return nil
}

func checkExpected(in map[string]any) error {
	for _, field := range []string{"first_name", "last_name", "address", "identification_number", "ip_address"} {
		if _, err := textOf(in, field); err != nil {
			return err
		}
	}
	birth, err := textOf(in, "date_of_birth")
	if err != nil {
		return err
	}
	if _, err := time.Parse(day, birth); birth != "" && err != nil {
		return invalid("date_of_birth", "Date has wrong format. Use one of these formats instead: YYYY-MM-DD.")
	}
	gender, err := textOf(in, "gender")
	if err != nil {
		return err
	}
	if gender != "" && gender != "M" && gender != "F" {
		return invalid("gender", fmt.Sprintf("%q is not a valid choice.", gender))
	}
	for _, field := range []string{"nationality", "id_country", "poa_country"} {
		country, err := textOf(in, field)
		if err != nil {
			return err
		}
		if country != "" && !countryForm.MatchString(country) {
			return invalid(field, "Use an ISO 3166-1 alpha-3 code.")
		}
	}
	return nil
}

// validCallback takes absolute links, also those that open an app, but none that would run in the page.
func validCallback(text string) bool {
	u, err := url.Parse(text)
	if err != nil || u.Scheme == "" {
		return false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.Host != ""
	case "javascript", "data", "vbscript", "file", "blob", "about":
		return false
	}
	return true
}

// own finds a session of our application; others do not exist for our key.
func (s *Simulator) own(ctx context.Context, id string) (*session, error) {
	return sessionBy(ctx, s.db, `id = $1 AND owner = ''`, id)
}

func (s *Simulator) getDecision(w http.ResponseWriter, r *http.Request) {
	if d, ok := s.readDecision(w, r); ok {
		answer(w, http.StatusOK, d)
	}
}

func (s *Simulator) getLegacyDecision(w http.ResponseWriter, r *http.Request) {
	if d, ok := s.readDecision(w, r); ok {
		answer(w, http.StatusOK, legacyDecision(d))
	}
}

func (s *Simulator) readDecision(w http.ResponseWriter, r *http.Request) (map[string]any, bool) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return nil, false
	}
	d, err := s.decision(r.Context(), s.db, x)
	if err != nil {
		s.fail(w, r, err)
		return nil, false
	}
	return d, true
}

func (s *Simulator) updateStatus(w http.ResponseWriter, r *http.Request) {
	x, _, err := s.review(r, "new_status")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"session_id": x.id})
}

func (s *Simulator) addReview(w http.ResponseWriter, r *http.Request) {
	_, entry, err := s.review(r, "new_status")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusCreated, entry)
}

// review changes a session's status by hand under the rules of provider/didit.md 2.4, in their order, and
// returns its entry in the review log (empty when nothing changed).
func (s *Simulator) review(r *http.Request, field string) (*session, map[string]any, error) {
	in, unreadable := body(r)
	entry := map[string]any{}
	x, err := s.change(r.Context(), `owner = '' AND id = $1`, r.PathValue("id"), func(tx *sql.Tx, x *session) error {
		switch x.status {
		case approved, declined, inReview, kycExpired, abandoned, resubmitted:
		default:
			return wrong("The session has a wrong current status (" + x.status + ") for this update.")
		}
		if unreadable != nil {
			return unreadable
		}
		to, err := textOf(in, field)
		if err != nil {
			return err
		}
		comment, err := textOf(in, "comment")
		if err != nil {
			return err
		}
		switch to {
		case "":
			return invalid(field, requiredText)
		case approved, declined, resubmitted:
		default:
			return invalid(field, fmt.Sprintf("%q is not a valid choice.", to))
		}
		if send, _ := in["send_email"].(bool); send {
			address, err := textOf(in, "email_address")
			if err != nil {
				return err
			}
			if _, err := mail.ParseAddress(address); err != nil {
				return invalid("email_address", "This field is required when send_email is true.")
			}
		}
		if to == x.status {
			if to == resubmitted {
				return wrong("The new status is the same as the current status.")
			}
			return nil
		}
		from := x.status
		entry = map[string]any{
			"action": "status_updated", "old_status": from, "new_status": to, "note": orNull(comment),
			"created_at": s.clock.Now().Format(stamp),
		}
		var number int64
		if err := tx.QueryRowContext(r.Context(), `INSERT INTO didit_reviews (session_id, action, old_status, new_status, note, created_at)
			VALUES ($1, 'status_updated', $2, $3, $4, $5) RETURNING id`, x.id, from, to, comment,
			s.clock.Now().UnixMicro()).Scan(&number); err != nil {
			return err
		}
		entry["id"] = number
		if to != resubmitted {
			return s.move(r.Context(), tx, x, to, "")
		}
		return s.resubmit(r.Context(), tx, x, in["nodes_to_resubmit"])
	})
	return x, entry, err
}

// resubmit asks for steps again. Steps that need nobody run by themselves at once, and then the session is back
// where it was, unless one of them was the obstacle.
func (s *Simulator) resubmit(ctx context.Context, tx *sql.Tx, x *session, nodes any) error {
	wanted, err := nodesOf(nodes)
	if err != nil {
		return err
	}
	from, why := x.status, x.risk
	alone := len(wanted) > 0
	cleared := false
	x.resubmit = nil
	for _, f := range wanted {
		alone = alone && f.backend
		if r, ok := lookRisk(why); ok && r.step == f {
			cleared = true
		}
		x.resubmit = append(x.resubmit, f.node)
	}
	if !alone {
		return s.move(ctx, tx, x, resubmitted, "")
	}
	now := s.clock.Now()
	if left := x.rerun.Add(rerunEvery).Sub(now); left > 0 {
		return &refusal{func(w http.ResponseWriter) { answerThrottled(w, left) }}
	}
	x.rerun = now
	if err := s.move(ctx, tx, x, resubmitted, ""); err != nil {
		return err
	}
	if cleared {
		return s.move(ctx, tx, x, approved, "")
	}
	return s.move(ctx, tx, x, from, why)
}

// nodesOf reads nodes_to_resubmit: [{node_id, feature}]. Either names the step.
func nodesOf(v any) ([]feature, error) {
	const field = "nodes_to_resubmit"
	if v == nil {
		return nil, nil
	}
	list, ok := v.([]any)
	if !ok {
		return nil, invalid(field, "Expected a list of items.")
	}
	var wanted []feature
	for _, e := range list {
		object, _ := e.(map[string]any)
		found := false
		for _, f := range workflow {
			if object["node_id"] == f.node || object["node_id"] == nil && object["feature"] == f.name {
				wanted, found = append(wanted, f), true
			}
		}
		if !found {
			return nil, invalid(field, "No such feature in this session.")
		}
	}
	return wanted, nil
}

// updateData corrects what was read from the document.
func (s *Simulator) updateData(w http.ResponseWriter, r *http.Request) {
	in, err := body(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	x, err := s.change(r.Context(), `owner = '' AND id = $1`, r.PathValue("id"), func(tx *sql.Tx, x *session) error {
		if st := stepStatus(x, ocr); st == "" || st == notFinished {
			return wrong("The session has no data to correct.")
		}
		who, err := s.person(x)
		if err != nil {
			return err
		}
		known := s.idVerification(x, who)
		corrections, err := decodeObject(x.corrections)
		if err != nil {
			return err
		}
		for field, value := range in {
			if _, ok := known[field].(string); !ok || strings.HasSuffix(field, "_image") {
				return invalid(field, "This field cannot be corrected.")
			}
			if _, ok := value.(string); !ok {
				return invalid(field, stringText)
			}
			corrections[field] = value
		}
		text, err := encodeJSON(corrections, answerStyle)
		if err != nil {
			return err
		}
		x.corrections, x.updated = string(text), s.clock.Now()
		if err := s.save(r.Context(), tx, x); err != nil {
			return err
		}
		return s.queue(r.Context(), tx, x, "data.updated")
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, map[string]any{"session_id": x.id})
}

func (s *Simulator) deleteSession(w http.ResponseWriter, r *http.Request) {
	err := s.inTx(r.Context(), func(tx *sql.Tx) error {
		n, err := erase(r.Context(), tx, `owner = '' AND id = $1`, r.PathValue("id"))
		if err == nil && n == 0 {
			return ErrNotFound
		}
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

func (s *Simulator) deleteSessions(w http.ResponseWriter, r *http.Request) {
	in, err := body(r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	err = s.inTx(r.Context(), func(tx *sql.Tx) error {
		if all, _ := in["delete_all"].(bool); all {
			_, err := erase(r.Context(), tx, `owner = ''`)
			return err
		}
		list, ok := in["session_numbers"].([]any)
		if !ok || len(list) == 0 {
			return invalid("session_numbers", requiredText)
		}
		for _, e := range list {
			token, _ := e.(json.Number)
			number, err := token.Int64()
			if err != nil {
				return invalid("session_numbers", "A valid integer is required.")
			}
			if _, err := erase(r.Context(), tx, `owner = '' AND number = $1`, number); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}

// erase removes sessions with everything that hangs on them, webhooks on their way included; only the bill
// stays. It returns how many there were.
func erase(ctx context.Context, tx *sql.Tx, condition string, args ...any) (int, error) {
	gone, err := selectSessions(ctx, tx, `WHERE `+condition, args...)
	if err != nil {
		return 0, err
	}
	for _, x := range gone {
		for _, statement := range []string{
			`DELETE FROM didit_deliveries WHERE event_id IN (SELECT event_id FROM didit_webhooks WHERE session_id = $1)`,
			`DELETE FROM didit_webhooks WHERE session_id = $1`,
			`DELETE FROM didit_reviews WHERE session_id = $1`,
			`DELETE FROM didit_sessions WHERE id = $1`,
		} {
			if _, err := tx.ExecContext(ctx, statement, x.id); err != nil {
				return 0, err
			}
		}
	}
	return len(gone), nil
}

// listSessions pages through our sessions, newest first (provider/didit.md 2.3).
func (s *Simulator) listSessions(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	where := []string{`owner = ''`}
	var args []any
	filter := func(condition string, value any) {
		args = append(args, value)
		where = append(where, strings.ReplaceAll(condition, "?", "$"+strconv.Itoa(len(args))))
	}
	if v := q.Get("vendor_data"); v != "" {
		filter(`vendor_data = ?`, v)
	}
	if v := q.Get("status"); v != "" {
		// Several are separated by commas.
		filter(`instr(',' || ? || ',', ',' || status || ',') > 0`, v)
	}
	if v := q.Get("country"); v != "" {
		filter(`country = ?`, strings.ToUpper(v))
	}
	if v := q.Get("workflow_id"); v != "" {
		filter(`workflow_id = ?`, v)
	}
	if v := q.Get("session_kind"); v != "" {
		filter(`? = 'user'`, v)
	}
	if v := q.Get("search"); v != "" {
		filter(`(instr(lower(full_name), lower(?)) > 0 OR instr(vendor_data, ?) > 0 OR id = ? OR CAST(number AS TEXT) = ?)`, v)
	}
	for field, condition := range map[string]string{"date_from": `created_at >= ?`, "date_to": `created_at < ?`} {
		v := q.Get(field)
		if v == "" {
			continue
		}
		at, err := time.Parse(time.RFC3339, v)
		if err != nil {
			if at, err = time.Parse(day, v); err != nil {
				answerInvalid(w, field, "Enter a valid date.")
				return
			}
			if field == "date_to" {
				at = at.AddDate(0, 0, 1) // the day itself belongs to it
			}
		}
		filter(condition, at.UnixMicro())
	}
	limit, err := strconv.Atoi(q.Get("limit"))
	if err != nil || limit < 1 {
		limit = pageSize
	}
	limit = min(limit, maxPageSize)
	offset, err := strconv.Atoi(q.Get("offset"))
	if err != nil || offset < 0 {
		offset = 0
	}

	condition := strings.Join(where, " AND ")
	var count int
	var page []*session
	err = s.inTx(r.Context(), func(tx *sql.Tx) error {
		err := tx.QueryRowContext(r.Context(), `SELECT count(*) FROM didit_sessions WHERE `+condition, args...).Scan(&count)
		if err != nil {
			return err
		}
		page, err = selectSessions(r.Context(), tx, fmt.Sprintf(`WHERE %s ORDER BY number DESC LIMIT %d OFFSET %d`,
			condition, limit, offset), args...)
		return err
	})
	if err != nil {
		s.fail(w, r, err)
		return
	}
	results := []any{}
	for _, x := range page {
		row := map[string]any{
			"session_id": x.id, "session_number": x.number, "session_url": s.url(x), "session_kind": "user", "status": x.status,
			"vendor_data": orNull(x.vendorData), "workflow_id": x.workflowID, "workflow_version": x.workflowVersion,
			"full_name": nil, "country": nil, "created_at": x.created.Format(stamp), "updated_at": x.updated.Format(stamp),
		}
		if st := stepStatus(x, ocr); st != "" && st != notFinished {
			row["full_name"], row["country"] = x.fullName, x.country
		}
		results = append(results, row)
	}
	link := func(offset int) any {
		next := url.Values{}
		for key, values := range q {
			next[key] = values
		}
		next.Set("limit", strconv.Itoa(limit))
		next.Set("offset", strconv.Itoa(offset))
		return s.baseURL + "/v3/sessions/?" + next.Encode()
	}
	out := map[string]any{"count": count, "next": nil, "previous": nil, "results": results}
	if offset+limit < count {
		out["next"] = link(offset + limit)
	}
	if offset > 0 {
		out["previous"] = link(max(0, offset-limit))
	}
	answer(w, http.StatusOK, out)
}

func (s *Simulator) listReviews(w http.ResponseWriter, r *http.Request) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list, err := reviewLog(r.Context(), s.db, x.id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, list)
}

func (s *Simulator) listWebhooks(w http.ResponseWriter, r *http.Request) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list, err := s.deliveryLog(r.Context(), x.id, "")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, list)
}

func (s *Simulator) getWebhook(w http.ResponseWriter, r *http.Request) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	list, err := s.deliveryLog(r.Context(), x.id, r.PathValue("event"))
	if err == nil && len(list) == 0 {
		err = ErrNotFound
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, list[0])
}

func (s *Simulator) resendWebhook(w http.ResponseWriter, r *http.Request) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	h, err := s.replay(r.Context(), x.id, r.PathValue("event"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	answer(w, http.StatusOK, h.describe())
}

// generatePDF makes a one-page report.
func (s *Simulator) generatePDF(w http.ResponseWriter, r *http.Request) {
	x, err := s.own(r.Context(), r.PathValue("id"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/pdf")
	w.Header().Set("Content-Disposition", `attachment; filename="session-`+strconv.FormatInt(x.number, 10)+`.pdf"`)
	_, _ = w.Write(report("Simulated verification report", "Session "+x.id, "Status "+x.status))
}

// report is the smallest valid PDF that shows some lines of plain ASCII without brackets.
func report(lines ...string) []byte {
	var content strings.Builder
	content.WriteString("BT /F1 14 Tf 60 780 Td 20 TL")
	for _, line := range lines {
		content.WriteString(" (" + line + ") Tj T*")
	}
	content.WriteString(" ET")
	objects := []string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R /Resources << /Font << /F1 5 0 R >> >> >>",
		fmt.Sprintf("<< /Length %d >>\nstream\n%s\nendstream", content.Len(), content.String()),
		"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
	}
	var pdf bytes.Buffer
	pdf.WriteString("%PDF-1.4\n")
	var offsets []int
	for i, object := range objects {
		offsets = append(offsets, pdf.Len())
		fmt.Fprintf(&pdf, "%d 0 obj\n%s\nendobj\n", i+1, object)
	}
	table := pdf.Len()
	fmt.Fprintf(&pdf, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, offset := range offsets {
		fmt.Fprintf(&pdf, "%010d 00000 n \n", offset)
	}
	fmt.Fprintf(&pdf, "trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, table)
	return pdf.Bytes()
}
