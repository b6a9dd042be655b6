package pokepay

import (
	"errors"
	"strings"
)

// Reason says why PokePay refused a call, as far as its words tell.
type Reason string

// The reasons.
const (
	ReasonOther        Reason = ""               // refused for a reason that the table does not know
	ReasonAuthority    Reason = "authority"      // our token is not, or no longer, good
	ReasonNameInvalid  Reason = "name_invalid"   // the Latin name breaks PokePay's rules
	ReasonEmailUsed    Reason = "email_used"     // by a cardholder of any agent
	ReasonIDNumberUsed Reason = "id_number_used" // by a cardholder of any agent
	ReasonDuplicate    Reason = "duplicate"      // something exists already, the text does not say what
	ReasonNotFound     Reason = "not_found"      // the object does not exist
)

// PokePay has no catalogue of error codes, only texts, Chinese and English for the same error. A row fits if
// the text, in lower case, holds a word of every group of all and no word of none; the first row that fits
// counts (provider/pokepay.md sections 2 and 9).
var (
	wordsEmail    = []string{"email", "e-mail", "邮箱", "郵箱", "邮件地址"}
	wordsIDNumber = []string{"id_number", "id number", "idnumber", "identity number", "document number", "证件号", "證件號", "身份证号"}
	wordsTaken    = []string{"already", "in use", "used by", "been used", "exist", "duplicate", "重复", "重複", "已被", "已存在", "占用"}
	wordsAbsent   = []string{"not exist", "not found", "no such", "doesn't exist", "不存在", "未找到"}
	wordsInvalid  = []string{"invalid", "illegal", "incorrect", "无效", "不合法", "格式"}
	wordsName     = []string{"first_en_name", "last_en_name", "first_name_en", "last_name_en", "english name", "英文名", "姓名拼音"}

	reasons = []struct {
		reason Reason
		all    [][]string
		none   []string
	}{
		{ReasonAuthority, [][]string{{"insufficient authority"}}, nil},
		{ReasonNameInvalid, [][]string{wordsName, wordsInvalid}, nil},
		{ReasonEmailUsed, [][]string{wordsEmail, wordsTaken}, wordsAbsent},
		{ReasonIDNumberUsed, [][]string{wordsIDNumber, wordsTaken}, wordsAbsent},
		{ReasonNotFound, [][]string{wordsAbsent}, nil},
		{ReasonDuplicate, [][]string{wordsTaken}, nil},
	}
)

// Classify finds the reason in an error text of PokePay.
func Classify(text string) Reason {
	text = strings.ToLower(text)
	holds := func(words []string) bool {
		for _, word := range words {
			if strings.Contains(text, word) {
				return true
			}
		}
		return false
	}
next:
	for _, row := range reasons {
		for _, group := range row.all {
			if !holds(group) {
				continue next
			}
		}
		if !holds(row.none) {
			return row.reason
		}
	}
	return ReasonOther
}

// Refusal is what PokePay said in an envelope that is not a success. It is the cause of the
// provider.Error, whose StaffText holds the words.
type Refusal struct {
	Code      string // of the envelope
	Reason    Reason
	RequestID string // PokePay's, to quote to them; may be empty
}

// Error names the reason, without PokePay's words.
func (r *Refusal) Error() string {
	if r.Reason == ReasonOther {
		return "pokepay refused"
	}
	return "pokepay refused: " + string(r.Reason)
}

// ReasonOf reads the reason from an error of this client; ReasonOther if there is none.
func ReasonOf(err error) Reason {
	if r := (*Refusal)(nil); errors.As(err, &r) {
		return r.Reason
	}
	return ReasonOther
}
