package password

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cheap parameters are for tests that are not about the parameters.
var cheap = Params{Memory: 16, Time: 1, Threads: 1}

func TestHashesAsOthersDo(t *testing.T) {
	// Of the reference implementation's tests: printf password | argon2 somesalt -id -t 2 -k 65536 -p 1 -e
	const known = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"
	h := New(Recommended())
	v, err := h.Verify(t.Context(), "password", known)
	require.NoError(t, err)
	assert.Equal(t, Verdict{Right: true, Weak: true}, v, "its salt is short")
	v, err = h.Verify(t.Context(), "Password", known)
	require.NoError(t, err)
	assert.Equal(t, Verdict{}, v)
}

func TestHashAndVerify(t *testing.T) {
	h := New(Recommended())
	text, err := h.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.Regexp(t, `^\$argon2id\$v=19\$m=19456,t=2,p=1\$[A-Za-z0-9+/]{22}\$[A-Za-z0-9+/]{43}$`, text)
	again, err := h.Hash(t.Context(), "correct horse")
	require.NoError(t, err)
	assert.NotEqual(t, text, again, "each has a salt of its own")

	for password, want := range map[string]Verdict{"correct horse": {Right: true}, "correct horsf": {}, "": {}} {
		v, err := h.Verify(t.Context(), password, text)
		require.NoError(t, err)
		assert.Equal(t, want, v, password)
	}
}

func TestParametersCanBeRaised(t *testing.T) {
	text, err := New(cheap).Hash(t.Context(), "secret")
	require.NoError(t, err)
	for raised, weak := range map[Params]bool{
		cheap:                              false,
		{Memory: 17, Time: 1, Threads: 1}:  true,
		{Memory: 16, Time: 2, Threads: 1}:  true,
		{Memory: 8, Time: 1, Threads: 1}:   false,
		{Memory: 999, Time: 1, Threads: 1}: true,
	} {
		v, err := New(raised).Verify(t.Context(), "secret", text)
		require.NoError(t, err)
		assert.Equal(t, Verdict{Right: true, Weak: weak}, v, raised)
		v, err = New(raised).Verify(t.Context(), "wrong", text)
		require.NoError(t, err)
		assert.Equal(t, Verdict{}, v, "what is wrong is not weak")
	}
}

// Whether there is a user, and whether the record can be read, is not seen from the
// work.
func TestTheSameWorkWhateverIsThere(t *testing.T) {
	h := New(cheap)
	text, err := h.Hash(t.Context(), "secret")
	require.NoError(t, err)
	for stored, fails := range map[string]bool{text: false, "": false, "junk": true} {
		before := h.Computed()
		v, err := h.Verify(t.Context(), "wrong", stored)
		assert.Equal(t, fails, err != nil, stored)
		assert.False(t, v.Right, stored)
		assert.Equal(t, before+1, h.Computed(), stored)
	}
}

const salt, key = "c29tZXNhbHRzb21lc2FsdA", "CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8ArZWb2GRPPc"

func TestParseRefuses(t *testing.T) {
	good := prefix + "m=16,t=1,p=1$" + salt + "$" + key
	_, err := parse(good)
	require.NoError(t, err)

	for what, text := range map[string]string{
		"not a hash of the form":               "plain",
		"not a hash of the":                    "$argon2i$v=19$m=16,t=1,p=1$" + salt + "$" + key,
		"not a hash of":                        "$argon2id$v=16$m=16,t=1,p=1$" + salt + "$" + key,
		"not a hash":                           good + "$",
		"expected the parameters m, t and p":   prefix + "m=16,t=1$" + salt + "$" + key,
		"parameter m: expected m=1 to m=65536": prefix + "m=4294967295,t=1,p=1$" + salt + "$" + key,
		"parameter m: expected m=1":            prefix + "m=65537,t=1,p=1$" + salt + "$" + key,
		"parameter m: expected":                prefix + "m=016,t=1,p=1$" + salt + "$" + key,
		"parameter m":                          prefix + "t=1,m=16,p=1$" + salt + "$" + key,
		"parameter t: expected t=1 to t=16":    prefix + "m=16,t=17,p=1$" + salt + "$" + key,
		"parameter t: expected t=1":            prefix + "m=16,t=0,p=1$" + salt + "$" + key,
		"parameter t":                          prefix + "m=16,t=+1,p=1$" + salt + "$" + key,
		"parameter p: expected p=1 to p=4":     prefix + "m=64,t=1,p=5$" + salt + "$" + key,
		"parameter p":                          prefix + "m=16,t=1,p=257$" + salt + "$" + key,
		"expected 32 or more with p=4":         prefix + "m=31,t=1,p=4$" + salt + "$" + key,
		"salt: expected 8 to 64 bytes":         prefix + "m=16,t=1,p=1$c2FsdA$" + key,
		"salt: expected":                       prefix + "m=16,t=1,p=1$" + salt + "\n$" + key,
		"salt":                                 prefix + "m=16,t=1,p=1$" + salt + "==$" + key,
		"key: expected 16 to 64 bytes":         prefix + "m=16,t=1,p=1$" + salt + "$",
		"key: expected":                        prefix + "m=16,t=1,p=1$" + salt + "$" + key[:len(key)-1] + "d", // bits that stand for nothing
		"key":                                  prefix + "m=16,t=1,p=1$" + salt + "$" + strings.Repeat("A", 100),
	} {
		_, err := parse(text)
		require.ErrorContains(t, err, what, text)
	}
}

// Of what is written everything is read back, and of what is read everything is
// written as it was: no two texts are one hash.
func TestTextsAndHashesAreOneToOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		threads := rapid.Uint8Range(1, maxThreads).Draw(t, "p")
		h := hash{
			Params: Params{
				Memory:  rapid.Uint32Range(8*uint32(threads), maxMemory).Draw(t, "m"),
				Time:    rapid.Uint32Range(1, maxTime).Draw(t, "t"),
				Threads: threads,
			},
			salt: rapid.SliceOfN(rapid.Byte(), minSalt, maxSalt).Draw(t, "salt"),
			key:  rapid.SliceOfN(rapid.Byte(), minKey, maxKey).Draw(t, "key"),
		}
		parsed, err := parse(h.String())
		if err != nil || parsed.String() != h.String() || fmt.Sprint(parsed) != fmt.Sprint(h) {
			t.Fatalf("%s is read as %s, %v", h, parsed, err)
		}
	})
}

func FuzzParse(f *testing.F) {
	f.Add(prefix + "m=16,t=1,p=1$" + salt + "$" + key)
	f.Add(prefix + "m=65536,t=16,p=4$" + salt + "$" + key)
	f.Add("$argon2id$v=19$m=4294967295,t=4294967295,p=255$$")
	f.Fuzz(func(t *testing.T, text string) {
		h, err := parse(text)
		if err != nil {
			return
		}
		if h.String() != text {
			t.Fatalf("%q is read as %q", text, h)
		}
		if h.Memory > maxMemory || h.Time < 1 || h.Time > maxTime || h.Threads < 1 || h.Threads > maxThreads {
			t.Fatalf("%q asks for %+v", text, h.Params)
		}
	})
}

func TestFewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(cheap)
		for range atOnce {
			h.running <- struct{}{} // all are at work
		}
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, waiting)
		for range waiting {
			go func() {
				_, err := h.Hash(ctx, "secret")
				results <- err
			}()
		}
		synctest.Wait()
		assert.Zero(t, h.Computed())
		_, err := h.Verify(t.Context(), "secret", "")
		require.ErrorIs(t, err, ErrBusy)

		<-h.running
		synctest.Wait()
		assert.Equal(t, uint64(waiting), h.Computed())
		h.running <- struct{}{}
		go func() {
			_, err := h.Hash(ctx, "secret")
			results <- err
		}()
		synctest.Wait()
		cancel()
		for range waiting {
			require.NoError(t, <-results)
		}
		require.ErrorIs(t, <-results, context.Canceled)
	})
}

func BenchmarkVerify(b *testing.B) {
	h := New(Recommended())
	for b.Loop() {
		if _, err := h.Verify(b.Context(), "wrong", ""); err != nil {
			b.Fatal(err)
		}
	}
}
