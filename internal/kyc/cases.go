package kyc

import (
	"context"

	"github.com/comecomepay/comecomepay/internal/platform/cases"
	"github.com/comecomepay/comecomepay/internal/platform/db"
)

// What of this capability a person has to look at. The subject is the attempt's agent_uid; that of caseNoAccess is the channel.
const (
	caseRevocation    = "kyc_revocation"      // a no after the approval
	caseLateApproval  = "kyc_late_approval"   // a yes after the rejection
	caseNoVerdict     = "kyc_no_verdict"      // no decision before the deadline
	caseEmailTaken    = "kyc_email_taken"     // the issuer knows the address
	caseDocumentTaken = "kyc_document_taken"  // the issuer knows the document
	caseNoAccess      = "kyc_provider_access" // a provider does not let us in; closed by the next session that it makes
)

// Cases lists what waits for an operator about verifications.
func (s *Service) Cases(ctx context.Context) ([]cases.Case, error) {
	return s.cases.List(ctx, cases.Filter{Kinds: []string{caseRevocation, caseLateApproval, caseNoVerdict, caseEmailTaken, caseDocumentTaken, caseNoAccess}})
}

func (s *Service) openCase(ctx context.Context, tx db.Tx, kind, subject, detail string) error {
	_, err := s.cases.Open(ctx, tx, cases.Case{Kind: kind, Subject: subject, Detail: detail})
	return err
}

// openCaseOfCustomer opens a case about an attempt, unless one of the kind is open about any attempt of the same customer, who
// must be locked: however often they try, it is one thing to look into.
func (s *Service) openCaseOfCustomer(ctx context.Context, tx db.Tx, kind string, r Record, detail string) error {
	open, err := s.store.hasCaseOfCustomer(ctx, tx, kind, r.UserID)
	if err != nil || open {
		return err
	}
	return s.openCase(ctx, tx, kind, r.AgentUID, detail)
}
