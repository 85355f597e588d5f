package process

import "time"

// Patient is the plan with clients that may take longer to ask again when the process
// stops.
func (p Plan) Patient(quiet time.Duration) Plan {
	p.quiet = quiet
	return p
}
