package kyc

import (
	"encoding/json"
	"log/slog"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/clock"
)

// property is a row of the published reference (contract/reference): none of them is required or nullable.
type property struct {
	Type    string
	Doc     string
	Enum    []any
	Example any
	Ref     string
}

var publishedStatus = map[string]property{
	"can_submit_kyc":  {Type: "boolean", Doc: "是否可以提交新的KYC认证", Example: true},
	"latest_kyc":      {Ref: "LatestKycInfo", Doc: "最新的KYC记录（如果存在）"},
	"message":         {Type: "string", Doc: "提示信息（说明为什么可以/不可以提交KYC）", Example: "KYC已通过，无需重复提交"},
	"user_kyc_status": {Type: "string", Doc: "用户整体KYC状态: none=未认证, pending=待审核, verified=已认证, rejected=已拒绝", Enum: []any{"none", "pending", "verified", "rejected"}, Example: "pending"},
}

var publishedLatest = map[string]property{
	"agent_uid":      {Type: "string", Doc: "唯一标识，用于查询Pokepay KYC状态", Example: "u1_1704067200_abc12345"},
	"created_at":     {Type: "string", Doc: "创建时间", Example: "2024-01-15T10:30:00Z"},
	"fail_reason":    {Type: "string", Doc: "失败原因（来自Pokepay的reason字段）", Example: "证件照片不清晰，请重新上传"},
	"id":             {Type: "integer", Doc: "KYC记录ID", Example: 1.0},
	"pokepay_status": {Type: "integer", Doc: "Pokepay KYC状态: 1=未审核/未完成, 2=审核通过, 3=审核失败, 4=信息不匹配, 5=待人工审核, 6=证件号重复", Enum: []any{1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, Example: 3.0},
	"status":         {Type: "string", Doc: "本地状态: pending_submit=待提交, pending=待审核, processing=审核中, approved=已通过, rejected=已拒绝, failed=失败, not_completed=未完成, cancelled=已取消", Enum: []any{"pending_submit", "pending", "processing", "approved", "rejected", "failed", "not_completed", "cancelled"}, Example: "rejected"},
	"updated_at":     {Type: "string", Doc: "更新时间", Example: "2024-01-15T12:00:00Z"},
}

var publishedError = map[string]property{
	"details": {Type: "string", Doc: "详细错误信息", Example: "详细错误信息"},
	"error":   {Type: "string", Example: "Invalid credentials"},
}

// The generated description of GET /didit/status says what the published reference says, property by property.
func TestDescribedAsPublished(t *testing.T) {
	edge := api.New(api.Options{Clock: clock.System{}, Log: slog.New(slog.DiscardHandler), Version: "test"})
	New(Options{}).Register(edge)
	text, err := json.Marshal(edge.OpenAPI())
	if err != nil {
		t.Fatal(err)
	}
	type schema struct {
		Type        any               `json:"type"`
		Description string            `json:"description"`
		Enum        []any             `json:"enum"`
		Examples    []any             `json:"examples"`
		Ref         string            `json:"$ref"`
		Required    []string          `json:"required"`
		Properties  map[string]schema `json:"properties"`
	}
	var spec struct {
		OpenAPI string `json:"openapi"`
		Paths   map[string]map[string]struct {
			Summary     string                `json:"summary"`
			Description string                `json:"description"`
			Tags        []string              `json:"tags"`
			Security    []map[string][]string `json:"security"`
			Parameters  []any                 `json:"parameters"`
			Responses   map[string]struct {
				Description string `json:"description"`
				Content     map[string]struct{ Schema schema }
			} `json:"responses"`
		} `json:"paths"`
		Components struct {
			Schemas         map[string]schema                          `json:"schemas"`
			SecuritySchemes map[string]struct{ Type, Name, In string } `json:"securitySchemes"`
		} `json:"components"`
	}
	if err := json.Unmarshal(text, &spec); err != nil {
		t.Fatal(err)
	}
	if spec.OpenAPI[:3] != "3.1" {
		t.Errorf("OpenAPI %s", spec.OpenAPI)
	}
	op, ok := spec.Paths["/didit/status"]["get"]
	if !ok {
		t.Fatal("the operation is not described")
	}
	if op.Summary != "获取用户KYC状态" || op.Description != "获取当前用户的KYC认证状态，包括最新的KYC记录和失败原因" || !slices.Contains(op.Tags, "KYC认证") {
		t.Errorf("described as %q, %q, %v", op.Summary, op.Description, op.Tags)
	}
	if diff := cmp.Diff([]map[string][]string{{"BearerAuth": {}}}, op.Security); diff != "" {
		t.Error(diff)
	}
	if s := spec.Components.SecuritySchemes["BearerAuth"]; s.Type != "apiKey" || s.Name != "Authorization" || s.In != "header" {
		t.Errorf("security scheme %+v", s)
	}
	words := map[string]string{}
	for status, r := range op.Responses {
		words[status] = r.Description
	}
	if diff := cmp.Diff(map[string]string{"200": "用户KYC状态", "401": "未授权", "404": "用户未找到"}, words); diff != "" || len(op.Parameters) > 0 {
		t.Errorf("answers (-published +got):\n%s\nparameters %v, published are none", diff, op.Parameters)
	}
	for status, want := range map[string]string{"200": "GetUserKycStatusResponse", "401": "ErrorResponse", "404": "ErrorResponse"} {
		got := op.Responses[status].Content["application/json"].Schema.Ref
		if got != "#/components/schemas/"+want {
			t.Errorf("%s is answered with %q, published is %s", status, got, want)
		}
	}
	check := func(name string, published map[string]property, extra ...string) {
		s := spec.Components.Schemas[name]
		if len(s.Required) > 0 {
			t.Errorf("%s: %v required; nothing is as published", name, s.Required)
		}
		for key, want := range published {
			got, ok := s.Properties[key]
			if !ok {
				t.Errorf("%s.%s is missing", name, key)
				continue
			}
			if want.Ref != "" {
				if got.Ref != "#/components/schemas/"+want.Ref {
					t.Errorf("%s.%s refers to %q", name, key, got.Ref)
				}
				continue
			}
			if got.Type != any(want.Type) {
				t.Errorf("%s.%s is %v, published %s (a list of types would mean nullable)", name, key, got.Type, want.Type)
			}
			if want.Doc != "" && got.Description != want.Doc {
				t.Errorf("%s.%s: %q", name, key, got.Description)
			}
			if diff := cmp.Diff(want.Enum, got.Enum); diff != "" {
				t.Errorf("%s.%s: %s", name, key, diff)
			}
			if diff := cmp.Diff([]any{want.Example}, got.Examples); diff != "" {
				t.Errorf("%s.%s: %s", name, key, diff)
			}
		}
		for key := range s.Properties {
			if _, ok := published[key]; !ok && !slices.Contains(extra, key) {
				t.Errorf("%s.%s is not published", name, key)
			}
		}
	}
	check("GetUserKycStatusResponse", publishedStatus, "status")
	check("LatestKycInfo", publishedLatest)
	check("ErrorResponse", publishedError, "message", "code", "status", "request_id")
}
