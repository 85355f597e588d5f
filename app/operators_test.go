package app_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/seed27495941/seckill/app"
	"github.com/seed27495941/seckill/app/admin"
	"github.com/seed27495941/seckill/app/gate/blacklist"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/conformance/servers"
	"github.com/seed27495941/seckill/internal/stores"
)

// Nobody gets past the door, whatever is behind it.
func TestOperatorsAreAskedWhoTheyAre(t *testing.T) {
	r := start(t)
	r.token = ""
	for _, path := range []string{"/v1/nodes", "/v1/config", "/v1/events", "/sd/prometheus", "/v1/nothing"} {
		a := r.do(http.MethodGet, r.at.Admin, path)
		assert.Equal(t, http.StatusUnauthorized, a.status, path)
		assert.Equal(t, "application/problem+json", a.kind)
	}
}

// Monitoring is told what a node advertises, and of a loopback address nothing.
func TestMonitoringIsToldWhereNodesAre(t *testing.T) {
	r := startWith(t, func(o *app.Options) { o.Settings.Ops.Advertise = "10.0.0.7:8090" })
	assert.Contains(t, r.get(r.at.Admin, "/sd/prometheus"), `"targets":["10.0.0.7:8090"]`)

	r = start(t)
	assert.Equal(t, "[]\n", r.get(r.at.Admin, "/sd/prometheus"))
	assert.Contains(t, r.get(r.at.Admin, "/v1/nodes"), `"ops":"`+r.at.Ops.String()+`"`)
	assert.Contains(t, r.get(r.at.Admin, "/v1/nodes"), "monitoring does not find it")
}

// Operators on other machines come over TLS, or not at all.
func TestOperatorsComeOverTLS(t *testing.T) {
	authority := servers.NewAuthority(t)
	certificate, key := authority.Issue(t, "admin.test")
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "admin.pem"), filepath.Join(dir, "admin.key")
	require.NoError(t, os.WriteFile(certFile, certificate, 0o600))
	require.NoError(t, os.WriteFile(keyFile, key, 0o600))
	first := make(chan string, 1)
	r := startWith(t, func(o *app.Options) {
		o.Settings.Admin.TLS.CertFile, o.Settings.Admin.TLS.KeyFile = certFile, keyFile
		o.FirstPassword = func(_, oneTime string) { first <- oneTime }
	})
	browser := http.Client{Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: authority.Pool(), MinVersion: tls.VersionTLS12},
	}}
	ask := func(client *http.Client, scheme, method, path, body string, cookies ...*http.Cookie) (status int, text string, given []*http.Cookie, err error) {
		req, err := http.NewRequestWithContext(t.Context(), method, scheme+"://"+r.at.Admin.String()+path, strings.NewReader(body))
		require.NoError(t, err)
		req.Header.Set("Content-Type", "application/json")
		for _, c := range cookies {
			req.AddCookie(c)
		}
		resp, err := client.Do(req)
		if err != nil {
			return 0, "", nil, err
		}
		defer resp.Body.Close()
		all, err := io.ReadAll(resp.Body)
		return resp.StatusCode, string(all), resp.Cookies(), err
	}
	status, _, given, err := ask(&browser, "https", http.MethodPost, "/v1/login", fmt.Sprintf(`{"name":"admin","password":%q}`, <-first))
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, status)
	require.Len(t, given, 1)
	cookie := given[0]
	assert.Equal(t, "__Host-seckill", cookie.Name)
	assert.True(t, cookie.Secure)
	assert.True(t, cookie.HttpOnly)
	assert.Equal(t, http.SameSiteLaxMode, cookie.SameSite)
	assert.Equal(t, "/", cookie.Path)
	assert.Empty(t, cookie.Domain)
	_, text, _, err := ask(&browser, "https", http.MethodGet, "/v1/session", "", cookie)
	require.NoError(t, err)
	assert.Contains(t, text, `"name":"admin"`)

	_, _, _, err = ask(&r.client, "https", http.MethodGet, "/livez", "")
	require.ErrorContains(t, err, "certificate signed by unknown authority")
	status, _, _, err = ask(&r.client, "http", http.MethodGet, "/livez", "")
	require.NoError(t, err)
	assert.Equal(t, http.StatusBadRequest, status, "in clear")

	_, err = settings.Load(settings.Sources{Flags: []settings.Flag{{Name: "--admin-bind", Key: "admin.bind", Value: "0.0.0.0:8081"}}})
	require.ErrorContains(t, err, "--admin-bind: other machines reach 0.0.0.0:8081, and passwords would go there in clear")
}

// Whoever sends slowly is cut off, and keeps nobody else waiting.
func TestSlowOperators(t *testing.T) {
	r := start(t)
	const each = 20
	cut := make(chan string, 2*each)
	slowly := func(begin string) {
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", r.at.Admin.String())
		if !assert.NoError(t, err) {
			cut <- ""
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, begin)
		said := make(chan string, 1)
		go func() {
			text, _ := io.ReadAll(conn) // until it is cut off
			said <- string(text)
		}()
		for {
			select {
			case text := <-said:
				cut <- text
				return
			case <-time.After(200 * time.Millisecond):
				_, _ = io.WriteString(conn, "x")
			}
		}
	}
	const headers = "POST /v1/login HTTP/1.1\r\nHost: " + "admin.test\r\n"
	for range each {
		go slowly(headers + "X-Slow: ")
		go slowly(headers + "Content-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
	}
	served, timedOut := 0, 0
	for ended := 0; ended < 2*each; {
		select {
		case text := <-cut:
			ended++
			assert.NotContains(t, text, "200 OK")
			if strings.HasPrefix(text, "HTTP/1.1 408") {
				timedOut++
			}
		default:
			assert.Contains(t, r.get(r.at.Admin, "/v1/nodes"), `"synced":true`)
			served++
			time.Sleep(20 * time.Millisecond)
		}
	}
	assert.Positive(t, served)
	assert.Positive(t, timedOut)
	t.Logf("%d requests were answered meanwhile; of %d slow ones %d were told 408", served, 2*each, timedOut)
}

// What operators tell a node is done by the process that it is.
func TestOperatorsTellANode(t *testing.T) {
	stores.EachServer(t, func(t *testing.T, space stores.Space) {
		list := filepath.Join(t.TempDir(), "blacklist")
		require.NoError(t, os.WriteFile(list, []byte("mallory\n"), 0o600))
		r, file := startWithFile(t, "", func(o *app.Options) {
			o.Store, o.Settings.Blacklist.File, o.Settings.Blacklist.Mode = space.Open(t), list, "push"
		})
		var nodes admin.NodeList
		require.NoError(t, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/nodes")), &nodes))
		require.Len(t, nodes.Nodes, 1)
		node := "/v1/nodes/" + nodes.Nodes[0].ID
		listed := func() (of blacklist.Status) {
			var state admin.BlacklistState
			require.NoError(t, json.Unmarshal([]byte(r.get(r.at.Admin, "/v1/blacklist")), &state))
			require.Len(t, state.Nodes, 1)
			require.Empty(t, state.Nodes[0].Error)
			require.NoError(t, json.Unmarshal(state.Nodes[0].Blacklist, &of))
			return of
		}
		assert.Equal(t, 1, listed().IDs)
		require.NoError(t, os.WriteFile(list, []byte("mallory\neve\n"), 0o600))
		reload := func(source string) answer {
			return r.send(http.MethodPost, r.at.Admin, node+"/reload", `{"source":"`+source+`"}`)
		}
		a := reload("blacklist")
		require.Equal(t, http.StatusNoContent, a.status, a.body)
		assert.Equal(t, 2, listed().IDs)
		require.NoError(t, os.WriteFile(file, []byte("[log]\nlevel = 'loud'\n"), 0o600))
		a = reload("settings")
		assert.Equal(t, http.StatusConflict, a.status, a.body)
		assert.Contains(t, a.body, "log.level: expected one of")

		before := r.status().Config.InForce.RateLimit.Low
		a = r.send(http.MethodPut, r.at.Admin, node+"/push", `{"value":"{\"rateLimit\":{\"low\":1}}","seconds":600,"comment":"a trial"}`)
		require.Equal(t, http.StatusOK, a.status, a.body)
		now := r.status().Config
		assert.Equal(t, 1, now.InForce.RateLimit.Low)
		assert.Contains(t, a.body, now.Override.Hash)
		assert.Equal(t, "admin", now.Override.Author)
		a = r.send(http.MethodDelete, r.at.Admin, node+"/push", "")
		assert.Equal(t, http.StatusOK, a.status)
		assert.Contains(t, a.body, `"had":true`)
		assert.Equal(t, before, r.status().Config.InForce.RateLimit.Low)

		log := r.get(r.at.Admin, "/v1/audit?action=node.")
		for _, action := range []string{"node.reload", "node.push", "node.clear"} {
			assert.Contains(t, log, `"`+action+`"`)
		}
	})
}
