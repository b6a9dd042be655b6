package api

import (
	"github.com/danielgtaylor/huma/v2"
)

// Number is a JSON number, kept as it is written: amounts never pass through a binary float (contract/rules section 2).
type Number string

// MarshalJSON implements json.Marshaler. An empty number is 0.
func (n Number) MarshalJSON() ([]byte, error) {
	if n == "" {
		return []byte("0"), nil
	}
	return []byte(n), nil
}

// UnmarshalJSON implements json.Unmarshaler. It keeps the token; null is empty. That it is a number the schema has seen to.
func (n *Number) UnmarshalJSON(token []byte) error {
	if string(token) == "null" {
		*n = ""
		return nil
	}
	*n = Number(token)
	return nil
}

// Schema implements huma.SchemaProvider.
func (Number) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeNumber} }

var _ huma.SchemaProvider = Number("")
