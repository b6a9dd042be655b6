package kyc

import (
	"context"
	"embed"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/identity"
	"github.com/comecomepay/comecomepay/internal/platform/i18n"
)

// Locales are the capability's texts.
//
//go:embed locales
var Locales embed.FS

// maxWebhook is the longest call of a provider that is read.
const maxWebhook = 1 << 20

// Register adds the capability's operations to the edge.
func (s *Service) Register(a *api.API) {
	api.Register(a, api.Operation{
		ID: "get-didit-status", Method: http.MethodGet, Path: "/didit/status", Access: api.CustomerUnconfirmed, Tag: "KYC认证",
		Summary: "获取用户KYC状态", Describe: "获取当前用户的KYC认证状态，包括最新的KYC记录和失败原因",
		Published: map[int]string{http.StatusOK: "用户KYC状态", http.StatusUnauthorized: "未授权", http.StatusNotFound: "用户未找到"},
	}, s.getStatus)
	api.Register(a, api.Operation{
		ID: "get-kyc-eligibility", Method: http.MethodGet, Path: "/kyc/eligibility", Tag: "KYC认证",
		Summary: "Whether the customer has paid what must be paid before a verification",
	}, s.getEligibility)
	api.Register(a, api.Operation{
		ID: "start-verification", Method: http.MethodPost, Path: "/didit/initialize-token", Tag: "KYC认证",
		Summary:  "Start or resume a verification",
		Describe: "Gives the link to the verification page. While an attempt waits for the customer the same link is given again. email, agent_uid and return_url are accepted and not used: the account's address and references of our own count.",
		Errors:   []int{http.StatusBadRequest, http.StatusForbidden},
	}, s.postInitialize)
	api.Register(a, api.Operation{
		ID: "get-verification-result", Method: http.MethodGet, Path: "/didit/get-result/{verification_id}", Tag: "KYC认证",
		Summary: "The state of one of the customer's own attempts", Errors: []int{http.StatusNotFound},
	}, s.getResult)
	api.Register(a, api.Operation{
		ID: "list-verifications", Method: http.MethodGet, Path: "/didit/get-user-kyc/{email}", Tag: "KYC认证",
		Summary: "The customer's own attempts, newest first", Errors: []int{http.StatusForbidden},
	}, s.getUserKYC)
	api.Register(a, api.Operation{
		ID: "verification-return", Method: http.MethodGet, Path: "/kyc/return", Access: api.Public, Tag: "KYC认证",
		Summary: "Page to which the verification page returns", Describe: "Tells the customer to go back to the app. Its parameters prove nothing.",
	}, s.getReturn)
	api.Register(a, api.Operation{
		ID: "didit-webhook", Method: http.MethodPost, Path: "/didit/webhook", Access: api.Provider, Tag: "Providers", MaxBody: maxWebhook,
		Summary: "Webhook of Didit", Describe: "Signed with X-Signature, X-Signature-V2 or X-Signature-Simple.", Errors: []int{http.StatusUnauthorized},
	}, s.postDiditWebhook)
	api.Register(a, api.Operation{
		ID: "pokepay-callback", Method: http.MethodPost, Path: "/pokepay/callback/{key}", Access: api.Provider, Tag: "Providers", MaxBody: maxWebhook,
		Summary: "Callback of the issuer", Describe: "A hint to read the cardholder again; its content is not believed.",
		Errors: []int{http.StatusBadRequest, http.StatusUnauthorized, http.StatusNotFound},
	}, s.postPokePayCallback)
}

// GetUserKycStatusResponse 用户KYC状态查询结果，包含用户整体KYC状态、最新KYC记录及失败原因
type GetUserKycStatusResponse struct {
	api.Success
	UserKycStatus string         `json:"user_kyc_status,omitempty" enum:"none,pending,verified,rejected" doc:"用户整体KYC状态: none=未认证, pending=待审核, verified=已认证, rejected=已拒绝" example:"pending"`
	CanSubmitKyc  bool           `json:"can_submit_kyc" doc:"是否可以提交新的KYC认证" example:"true"`
	Message       string         `json:"message,omitempty" doc:"提示信息（说明为什么可以/不可以提交KYC）" example:"KYC已通过，无需重复提交"`
	LatestKyc     *LatestKycInfo `json:"latest_kyc,omitempty" doc:"最新的KYC记录（如果存在）"`
}

// LatestKycInfo 用户最新的KYC认证记录详情
type LatestKycInfo struct {
	ID            int64  `json:"id,omitempty" doc:"KYC记录ID" example:"1"`
	AgentUID      string `json:"agent_uid,omitempty" doc:"唯一标识，用于查询Pokepay KYC状态" example:"u1_1704067200_abc12345"`
	Status        string `json:"status,omitempty" enum:"pending_submit,pending,processing,approved,rejected,failed,not_completed,cancelled" doc:"本地状态: pending_submit=待提交, pending=待审核, processing=审核中, approved=已通过, rejected=已拒绝, failed=失败, not_completed=未完成, cancelled=已取消" example:"rejected"`
	PokepayStatus int    `json:"pokepay_status,omitempty" enum:"1,2,3,4,5,6" doc:"Pokepay KYC状态: 1=未审核/未完成, 2=审核通过, 3=审核失败, 4=信息不匹配, 5=待人工审核, 6=证件号重复" example:"3"`
	FailReason    string `json:"fail_reason,omitempty" doc:"失败原因（来自Pokepay的reason字段）" example:"证件照片不清晰，请重新上传"`
	CreatedAt     string `json:"created_at,omitempty" doc:"创建时间" example:"2024-01-15T10:30:00Z"`
	UpdatedAt     string `json:"updated_at,omitempty" doc:"更新时间" example:"2024-01-15T12:00:00Z"`
}

type statusOutput struct{ Body GetUserKycStatusResponse }

func (s *Service) getStatus(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	st, err := s.Status(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	return &statusOutput{s.statusBody(ctx, st)}, nil
}

func (s *Service) statusBody(ctx context.Context, st Standing) GetUserKycStatusResponse {
	return GetUserKycStatusResponse{
		Success: api.OK(), UserKycStatus: string(st.User), CanSubmitKyc: st.CanSubmit,
		Message: s.Texts.For(ctx, "kyc.status."+st.Text, nil), LatestKyc: s.latest(ctx, st),
	}
}

// latest leaves out what has no value and never sends null (contract/money section 1.1).
func (s *Service) latest(ctx context.Context, st Standing) *LatestKycInfo {
	r := st.Record
	if r.ID == 0 {
		return nil
	}
	return &LatestKycInfo{
		ID: r.ID, AgentUID: r.AgentUID, Status: string(r.Status), PokepayStatus: st.PokePayStatus,
		FailReason: s.FailReason(i18n.FromContext(ctx), st), CreatedAt: wireTime(r.CreatedAt), UpdatedAt: wireTime(r.UpdatedAt),
	}
}

func wireTime(t time.Time) string { return t.UTC().Truncate(time.Second).Format(time.RFC3339) }

type eligibilityResponse struct {
	api.Success
	Eligible       bool   `json:"eligible"`
	PaymentStatus  string `json:"payment_status" enum:"none,pending,completed"`
	PaymentType    string `json:"payment_type" enum:"virtual"`
	Reason         string `json:"reason" doc:"Shown when not eligible; empty otherwise."`
	RequiredAction string `json:"required_action" enum:",create_payment,complete_payment"`
}

type eligibilityOutput struct{ Body eligibilityResponse }

func (s *Service) getEligibility(ctx context.Context, _ *struct{}) (*eligibilityOutput, error) {
	e, err := s.Eligibility(ctx, identity.CustomerFrom(ctx))
	if err != nil {
		return nil, err
	}
	body := eligibilityResponse{Success: api.OK(), Eligible: e.Eligible, PaymentStatus: string(e.PaymentStatus), PaymentType: "virtual", RequiredAction: e.RequiredAction}
	if e.ReasonKey != "" {
		body.Reason = s.Texts.For(ctx, e.ReasonKey, nil)
	}
	return &eligibilityOutput{body}, nil
}

type initializeInput struct {
	Body struct {
		FirstName   string `json:"first_en_name" doc:"A to Z; embossed on the card." example:"AMINA"`
		LastName    string `json:"last_en_name" doc:"A to Z; embossed on the card." example:"CHAN"`
		Email       string `json:"email,omitempty" doc:"Not used: the account's address counts."`
		AreaCode    string `json:"area_code" doc:"Dialling code, with or without plus." example:"852"`
		Phone       string `json:"phone" doc:"National number; may be empty." example:"51234567"`
		CountryCode string `json:"bill_country_code" doc:"ISO 3166 alpha-2." example:"HK"`
		State       string `json:"state" example:"Hong Kong"`
		City        string `json:"city" example:"Hong Kong"`
		Address     string `json:"address" example:"1 Harbour Road"`
		PostCode    string `json:"post_code" example:"000000"`
		AgentUID    string `json:"agent_uid,omitempty" doc:"Not used."`
		ReturnURL   string `json:"return_url,omitempty" doc:"Not used."`
	}
}

type diditSession struct {
	SessionID string `json:"session_id"`
	URL       string `json:"url" doc:"Open this in a web view."`
}

type diditToken struct {
	Code      int          `json:"code" example:"200"`
	Errstr    string       `json:"errstr" example:"SUCCESS"`
	RequestID string       `json:"request_id"`
	Data      diditSession `json:"data"`
}

type initializeResponse struct {
	api.Success
	DiditToken     diditToken `json:"didit_token"`
	UserKycID      int64      `json:"user_kyc_id"`
	VerificationID string     `json:"verification_id" doc:"For GET /didit/get-result/{verification_id}."`
}

type initializeOutput struct{ Body initializeResponse }

func (s *Service) postInitialize(ctx context.Context, in *initializeInput) (*initializeOutput, error) {
	b := in.Body
	started, err := s.Start(ctx, identity.CustomerFrom(ctx), Applicant{
		FirstName: b.FirstName, LastName: b.LastName, AreaCode: b.AreaCode, Phone: b.Phone, CountryCode: b.CountryCode,
		State: b.State, City: b.City, Address: b.Address, PostCode: b.PostCode,
	})
	if err != nil {
		return nil, err
	}
	return &initializeOutput{initializeResponse{
		Success: api.OK(), UserKycID: started.RecordID, VerificationID: started.AgentUID,
		DiditToken: diditToken{Code: 200, Errstr: "SUCCESS", RequestID: api.RequestID(ctx), Data: diditSession{started.SessionID, started.URL}},
	}}, nil
}

type resultInput struct {
	VerificationID string `path:"verification_id" maxLength:"100"`
	Email          string `query:"email" doc:"Not used."`
}

type resultResponse struct {
	api.Success
	VerificationID string         `json:"verification_id"`
	Result         string         `json:"result" enum:"pending,rejected,completed"`
	Message        string         `json:"message"`
	Kyc            *LatestKycInfo `json:"kyc"`
}

type resultOutput struct{ Body resultResponse }

func (s *Service) getResult(ctx context.Context, in *resultInput) (*resultOutput, error) {
	st, err := s.Attempt(ctx, identity.CustomerFrom(ctx), in.VerificationID)
	if err != nil {
		return nil, err
	}
	result := "pending"
	switch st.User {
	case UserVerified:
		result = "completed"
	case UserRejected:
		result = "rejected"
	}
	return &resultOutput{resultResponse{
		Success: api.OK(), VerificationID: st.Record.AgentUID, Result: result,
		Message: s.Texts.For(ctx, "kyc.status."+st.Text, nil), Kyc: s.latest(ctx, st),
	}}, nil
}

type userKYCInput struct {
	Email string `path:"email" maxLength:"254" doc:"The customer's own address."`
}

type userKYCResponse struct {
	api.Success
	Data []*LatestKycInfo `json:"data" nullable:"false" doc:"Newest first."`
}

type userKYCOutput struct{ Body userKYCResponse }

func (s *Service) getUserKYC(ctx context.Context, in *userKYCInput) (*userKYCOutput, error) {
	list, err := s.Attempts(ctx, identity.CustomerFrom(ctx), in.Email)
	if err != nil {
		return nil, err
	}
	body := userKYCResponse{Success: api.OK(), Data: make([]*LatestKycInfo, len(list))}
	for i, st := range list {
		body.Data[i] = s.latest(ctx, st)
	}
	return &userKYCOutput{body}, nil
}

// ProviderCall is a request of a provider whose bytes and headers matter as they came.
type ProviderCall struct {
	RawBody []byte
	header  http.Header
}

// Resolve implements huma.Resolver.
func (c *ProviderCall) Resolve(ctx huma.Context) []error {
	c.header = http.Header{}
	ctx.EachHeader(func(name, value string) { c.header.Add(name, value) })
	return nil
}

type callbackInput struct {
	ProviderCall
	Key string `path:"key" maxLength:"200" doc:"The secret path segment."`
}

type receivedOutput struct{ Body api.Success }

func (s *Service) postDiditWebhook(ctx context.Context, in *ProviderCall) (*receivedOutput, error) {
	if err := s.ReceiveDidit(ctx, in.header, in.RawBody); err != nil {
		return nil, err
	}
	return &receivedOutput{api.OK()}, nil
}

func (s *Service) postPokePayCallback(ctx context.Context, in *callbackInput) (*receivedOutput, error) {
	if err := s.ReceivePokePay(ctx, in.Key, in.header, in.RawBody); err != nil {
		return nil, err
	}
	return &receivedOutput{api.OK()}, nil
}
