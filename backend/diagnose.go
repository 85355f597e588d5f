package backend

import "context"

// A Diagnoser is a Store whose driver can tell what the five methods don't
// show: the state of the servers behind it. Drivers implement it where they
// can; wrappers need not pass it on.
type Diagnoser interface {
	// Diagnose looks at the servers, each by itself where the driver knows
	// several, and returns a finding for each of its checks, always the same
	// ones in the same order: what could not be looked at is VerdictUnknown. It
	// changes nothing, and shows no secrets. Each check is bounded by the
	// request timeout, all of them by ctx.
	//
	// Names that drivers share: "endpoints" (VerdictFail if none can be
	// reached), "credentials" (VerdictFail if they are refused, so that
	// nothing else can be asked), "version", "members" and "leader".
	Diagnose(ctx context.Context) []Finding
}

// A Finding is the outcome of one check.
type Finding struct {
	Check   string  `json:"check"` // a stable name: words joined by hyphens
	Verdict Verdict `json:"verdict"`
	Found   string  `json:"found"` // what was seen, in numbers where there are some

	// Remedy says what to do about it at the store, with the command or rule
	// to paste on lines of their own. It is empty if nothing needs to be done,
	// or if only the caller's own settings are at fault.
	Remedy string `json:"remedy,omitempty"`
}

// A Verdict is what a check came to.
type Verdict string

// The verdicts there are.
const (
	VerdictOK      Verdict = "ok"
	VerdictWarn    Verdict = "warn"    // it works, but not well or not for long
	VerdictFail    Verdict = "fail"    // it does not work
	VerdictUnknown Verdict = "unknown" // it was not permitted or not possible to look
)
