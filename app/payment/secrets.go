package payment

import (
	"errors"
	"fmt"
	"strings"

	"github.com/seed27495941/seckill/backend/credential"
)

// MinSecret is how short a secret may be, in bytes.
const MinSecret = 32

// parseSecrets reads one secret a line. Blank lines and those that begin with #
// say nothing. Errors name the line and never show it.
func parseSecrets(content []byte) ([]credential.Secret, error) {
	var secrets []credential.Secret
	number := 0
	for line := range strings.Lines(string(content)) {
		number++
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		if len(line) < MinSecret {
			return nil, fmt.Errorf("line %d: the secret has %d characters, expected at least %d", number, len(line), MinSecret)
		}
		secrets = append(secrets, credential.Secret(line))
	}
	if len(secrets) == 0 {
		return nil, errors.New("no secret, expected one a line")
	}
	return secrets, nil
}
