package credential_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/backend/credential"
)

func TestSecretNeverPrints(t *testing.T) {
	const hidden = "hunter2"
	s := credential.Secret(hidden)
	type config struct{ Token credential.Secret }
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "token", s, "config", config{s})
	encoded, err := json.Marshal(config{s})
	require.NoError(t, err)

	source, err := credential.NewSource("token", s, "")
	require.NoError(t, err)
	slog.New(slog.NewTextHandler(&log, nil)).Info("opened", "source", source)
	shown := []string{log.String(), string(encoded), fmt.Sprint(source), fmt.Sprintf("%+v %#v", source, source)}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d", "%t", "%08.3f"} {
		shown = append(shown, fmt.Sprintf(verb, s), fmt.Sprintf(verb, config{s}))
	}
	for _, text := range shown {
		assert.NotContains(t, text, hidden)
		assert.NotContains(t, text, fmt.Sprintf("%x", hidden))
	}
	assert.Equal(t, hidden, s.Reveal())
	assert.Empty(t, fmt.Sprint(credential.Secret("")))
}

func TestSourceFollowsItsFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	write := func(text string) { require.NoError(t, os.WriteFile(file, []byte(text), 0o600)) }
	write("first\n")

	synctest.Test(t, func(t *testing.T) {
		s, err := credential.NewSource("token", "", file)
		require.NoError(t, err)
		assert.Equal(t, "first", s.Get().Reveal())

		write("  second\n")
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal())

		write("")
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal(), "an empty file is one that is just being written")

		require.NoError(t, os.Remove(file))
		time.Sleep(time.Second)
		assert.Equal(t, "second", s.Get().Reveal())
	})
}

func TestSourceRefuses(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty")
	require.NoError(t, os.WriteFile(empty, []byte("\n"), 0o600))

	_, err := credential.NewSource("password", "x", empty)
	require.ErrorContains(t, err, "password: given directly and as the file "+empty)
	_, err = credential.NewSource("password", "", empty)
	require.ErrorContains(t, err, empty+": the file is empty")
	_, err = credential.NewSource("password", "", empty+"-not")
	require.ErrorIs(t, err, os.ErrNotExist)

	none, err := credential.NewSource("password", "", "")
	require.NoError(t, err)
	assert.Empty(t, none.Get().Reveal())
}

func TestTLSNamesTheFileAtFault(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "junk.pem")
	require.NoError(t, os.WriteFile(junk, []byte("junk"), 0o600))

	_, err := credential.TLS{CertFile: junk}.Config()
	require.ErrorContains(t, err, "both a certificate and a key")
	_, err = credential.TLS{CAFile: junk}.Config()
	require.ErrorContains(t, err, junk+" has no certificate")
	_, err = credential.TLS{CAFile: junk + "-not"}.Config()
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = credential.TLS{CertFile: junk, KeyFile: junk}.Config()
	require.ErrorContains(t, err, "client certificate "+junk)
	assert.False(t, credential.TLS{}.Enabled())
}
