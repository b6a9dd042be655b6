package identity

import (
	"context"
	"net/http"
	"time"

	"github.com/comecomepay/comecomepay/internal/api"
	"github.com/comecomepay/comecomepay/internal/platform/secret"
)

type (
	transactionPasswordRequest struct {
		Password     string `json:"transaction_password" doc:"Exactly six digits; not all the same, no run." example:"482913"`
		Confirmation string `json:"confirm_transaction_password" example:"482913"`
	}
	completeTransactionPasswordRequest struct {
		Code  string `json:"otp_code" doc:"Five digits, as mailed." example:"04821"`
		Token string `json:"temp_hash" doc:"As answered by the request."`
	}
	newEmailRequest struct {
		NewEmail string `json:"new_email" example:"amina@example.org"`
	}
	verifyNewEmailRequest struct {
		NewEmail string `json:"new_email" example:"amina@example.org"`
		Code     string `json:"otp_code" doc:"Five digits, as mailed to the new address." example:"04821"`
	}
	completeEmailRequest struct {
		NewEmail string `json:"new_email" example:"amina@example.org"`
		Code     string `json:"old_email_otp" doc:"Five digits, as mailed to the old address." example:"04821"`
	}
	newPhoneRequest struct {
		NewPhone string `json:"new_phone" example:"+85291234567"`
	}
	verifyNewPhoneRequest struct {
		Email    string `json:"email,omitempty" doc:"Not looked at: the next code goes to the address of the account." example:"amina@example.com"`
		NewPhone string `json:"new_phone" example:"+85291234567"`
		Code     string `json:"otp_code" doc:"Five digits, as sent by SMS." example:"04821"`
	}
	completePhoneRequest struct {
		NewPhone string `json:"new_phone" example:"+85291234567"`
		Code     string `json:"email_otp" doc:"Five digits, as mailed." example:"04821"`
	}
	changePasswordRequest struct {
		Old          string `json:"old_password" example:"Harbour-Lights7!"`
		Password     string `json:"new_password" doc:"At least 8 characters, among them A-Z, a digit and a sign." example:"Quiet-Mountains8?"`
		Confirmation string `json:"confirm_password" example:"Quiet-Mountains8?"`
	}
)

type (
	transactionPasswordResponse struct {
		api.Success
		Email    string `json:"email" doc:"Where the code went."`
		Message  string `json:"message"`
		NextStep string `json:"next_step" enum:"verify_transaction_password_otp"`
		TempHash string `json:"temp_hash" doc:"Opaque, for this request alone; the newest one counts, for ten minutes."`
	}
	transactionPasswordStatusResponse struct {
		api.Success
		Message                string     `json:"message"`
		IsSet                  bool       `json:"is_set"`
		WithdrawalBlockedUntil *time.Time `json:"withdrawal_blocked_until,omitempty" doc:"No withdrawals before, after a change of credentials; left out if there is no block."`
	}
	newEmailResponse struct {
		api.Success
		Message  string `json:"message"`
		NewEmail string `json:"new_email"`
		NextStep string `json:"next_step"`
	}
	emailChangedResponse struct {
		api.Success
		Message  string `json:"message"`
		NewEmail string `json:"new_email"`
	}
	currentEmailResponse struct {
		api.Success
		CurrentEmail string `json:"current_email" doc:"Where the next code went."`
		Message      string `json:"message"`
		NextStep     string `json:"next_step"`
	}
	newPhoneResponse struct {
		api.Success
		Message  string `json:"message"`
		NewPhone string `json:"new_phone"`
		NextStep string `json:"next_step"`
	}
	phoneResponse struct {
		api.Success
		Message string `json:"message"`
		Phone   string `json:"phone"`
	}
)

const (
	stepVerifyTransactionPassword = "verify_transaction_password_otp"
	stepVerifyNewEmail            = "verify_new_email"
	stepVerifyOldEmail            = "verify_old_email"
	stepVerifyNewPhone            = "verify_new_phone"
	stepVerifyEmail               = "verify_email"
)

const tagSecurity = "Security"

// registerCredentials adds the routes by which signed-in customers change what they sign in and pay with.
func (s *Service) registerCredentials(a *api.API) {
	say := func(ctx context.Context, key string) string { return s.texts.For(ctx, "auth."+key, nil) }

	api.Register(a, api.Operation{
		ID: "request-transaction-password", Method: http.MethodPost, Path: "/user/transaction-password/request", Tag: tagSecurity,
		Summary:  "Begin to set or change the transaction password: a code is mailed",
		Describe: "Once a minute; sooner is 429 with Retry-After. The newest request counts.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[transactionPasswordRequest]) (*output[transactionPasswordResponse], error) {
		out, err := s.RequestTransactionPassword(ctx, CustomerFrom(ctx), secret.NewText(in.Body.Password), secret.NewText(in.Body.Confirmation))
		if err != nil {
			return nil, err
		}
		return answer(transactionPasswordResponse{api.OK(), out.Email, say(ctx, "code_sent"), stepVerifyTransactionPassword, out.Token.Reveal()}), nil
	})

	api.Register(a, api.Operation{
		ID: "complete-transaction-password", Method: http.MethodPost, Path: "/user/transaction-password/complete", Tag: tagSecurity,
		Summary:  "Put the transaction password in force with the mailed code",
		Describe: "A change, unlike the first setting, blocks withdrawals for 24 hours. Repeated with the same code it changes nothing more.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[completeTransactionPasswordRequest]) (*output[messageResponse], error) {
		if err := s.CompleteTransactionPassword(ctx, CustomerFrom(ctx), in.Body.Code, secret.NewText(in.Body.Token)); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "transaction_password_set")}), nil
	})

	api.Register(a, api.Operation{
		ID: "get-transaction-password-status", Method: http.MethodGet, Path: "/user/transaction-password/status", Tag: tagSecurity,
		Summary: "Whether a transaction password is set",
	}, func(ctx context.Context, _ *struct{}) (*output[transactionPasswordStatusResponse], error) {
		set, until, err := s.TransactionPasswordStatus(ctx, CustomerFrom(ctx))
		if err != nil {
			return nil, err
		}
		message := say(ctx, "transaction_password_is_unset")
		if set {
			message = say(ctx, "transaction_password_is_set")
		}
		return answer(transactionPasswordStatusResponse{api.OK(), message, set, until}), nil
	})

	api.Register(a, api.Operation{
		ID: "request-email-change", Method: http.MethodPost, Path: "/user/change-email/request", Tag: tagSecurity,
		Summary: "Begin to change the e-mail address: a code goes to the new one", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[newEmailRequest]) (*output[newEmailResponse], error) {
		address, err := s.RequestEmailChange(ctx, CustomerFrom(ctx), in.Body.NewEmail)
		if err != nil {
			return nil, err
		}
		return answer(newEmailResponse{api.OK(), say(ctx, "new_email_code_sent"), address, stepVerifyNewEmail}), nil
	})

	api.Register(a, api.Operation{
		ID: "verify-new-email", Method: http.MethodPost, Path: "/user/change-email/verify-new", Tag: tagSecurity,
		Summary:  "Prove the new address: a code goes to the old one",
		Describe: "Can be repeated with the same code, also to have the next one sent again.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[verifyNewEmailRequest]) (*output[currentEmailResponse], error) {
		address, err := s.VerifyNewEmail(ctx, CustomerFrom(ctx), in.Body.NewEmail, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(currentEmailResponse{api.OK(), address, say(ctx, "old_email_code_sent"), stepVerifyOldEmail}), nil
	})

	api.Register(a, api.Operation{
		ID: "complete-email-change", Method: http.MethodPost, Path: "/user/change-email/complete", Tag: tagSecurity,
		Summary:  "Change the e-mail address with the code sent to the old one",
		Describe: "Tokens stay valid. Withdrawals are blocked for 24 hours.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[completeEmailRequest]) (*output[emailChangedResponse], error) {
		address, err := s.CompleteEmailChange(ctx, CustomerFrom(ctx), in.Body.NewEmail, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(emailChangedResponse{api.OK(), say(ctx, "email_changed"), address}), nil
	})

	api.Register(a, api.Operation{
		ID: "request-phone-change", Method: http.MethodPost, Path: "/user/change-phone/request", Tag: tagSecurity,
		Summary: "Begin to change the phone number: a code goes there by SMS", Errors: []int{400, 403, 503},
	}, func(ctx context.Context, in *input[newPhoneRequest]) (*output[newPhoneResponse], error) {
		number, err := s.RequestPhoneChange(ctx, CustomerFrom(ctx), in.Body.NewPhone)
		if err != nil {
			return nil, err
		}
		return answer(newPhoneResponse{api.OK(), say(ctx, "sms_sent"), number, stepVerifyNewPhone}), nil
	})

	api.Register(a, api.Operation{
		ID: "verify-new-phone", Method: http.MethodPost, Path: "/user/change-phone/verify-new", Tag: tagSecurity,
		Summary:  "Prove the new number: a code is mailed",
		Describe: "Can be repeated with the same code, also to have the next one sent again.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[verifyNewPhoneRequest]) (*output[stepResponse], error) {
		email, err := s.VerifyNewPhone(ctx, CustomerFrom(ctx), in.Body.NewPhone, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(stepResponse{api.OK(), email, say(ctx, "code_sent"), stepVerifyEmail}), nil
	})

	api.Register(a, api.Operation{
		ID: "complete-phone-change", Method: http.MethodPost, Path: "/user/change-phone/complete", Tag: tagSecurity,
		Summary: "Change the phone number with the mailed code", Describe: "Withdrawals are blocked for 24 hours.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[completePhoneRequest]) (*output[phoneResponse], error) {
		number, err := s.CompletePhoneChange(ctx, CustomerFrom(ctx), in.Body.NewPhone, in.Body.Code)
		if err != nil {
			return nil, err
		}
		return answer(phoneResponse{api.OK(), say(ctx, "phone_changed"), number}), nil
	})

	api.Register(a, api.Operation{
		ID: "change-password", Method: http.MethodPost, Path: "/user/change-password", Tag: tagSecurity,
		Summary:  "Change the password",
		Describe: "This session stays, all others end. Withdrawals are blocked for 24 hours. A wrong old password is 400, too many are 429.", Errors: []int{400, 403},
	}, func(ctx context.Context, in *input[changePasswordRequest]) (*output[messageResponse], error) {
		b := in.Body
		if err := s.ChangePassword(ctx, CustomerFrom(ctx), secret.NewText(b.Old), secret.NewText(b.Password), secret.NewText(b.Confirmation)); err != nil {
			return nil, err
		}
		return answer(messageResponse{api.OK(), say(ctx, "password_changed")}), nil
	})
}
