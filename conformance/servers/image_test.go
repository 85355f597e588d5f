package servers

import (
	"sync"
	"testing"

	"github.com/ory/dockertest/v3/docker"
	"github.com/stretchr/testify/require"
)

const nowhere = "registry.invalid/nothing:1"

// A pull that failed is not tried again for a while, unless the image was asked for by name.
func TestPullFailureIsRemembered(t *testing.T) {
	e := needDocker(t)
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	_, err := e.pulled(t.Context(), nowhere, false)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "not pulled")
	_, err = e.pulled(t.Context(), nowhere, false)
	require.ErrorContains(t, err, "not pulled")
	_, err = e.pulled(t.Context(), nowhere, true)
	require.Error(t, err)
	require.NotContains(t, err.Error(), "not pulled")
}

// Who names an image gets that image or an error, never something else.
func TestNamedImage(t *testing.T) {
	needServers(t)
	needDocker(t)
	original := openEngine
	t.Cleanup(func() { openEngine = original })
	forget := func() { openEngine = sync.OnceValues(newEngine) }

	forget()
	t.Setenv("SECKILL_TEST_ETCD_IMAGE", nowhere)
	_, err := start(testContext(t), "", Config{Kind: Etcd})
	require.ErrorContains(t, err, "SECKILL_TEST_ETCD_IMAGE="+nowhere)

	// An image that has etcd in its path serves for an official one: here, whatever there is without a name.
	forget()
	t.Setenv("SECKILL_TEST_ETCD_IMAGE", "")
	e := needDocker(t)
	some, err := e.image(testContext(t), Etcd)
	require.NoError(t, err)
	forget()
	t.Setenv("SECKILL_TEST_ETCD_IMAGE", some.ref)
	e = needDocker(t)
	derived, err := e.image(testContext(t), Etcd)
	require.NoError(t, err)
	defer func() {
		require.NoError(t, e.client.RemoveImageExtended(derived.ref, docker.RemoveImageOptions{Force: true}))
	}()
	require.NotEqual(t, some.ref, derived.ref)
	c, err := start(testContext(t), "", Config{Kind: Etcd})
	require.NoError(t, err)
	require.Equal(t, "docker: official image "+some.ref, c.Source())
	require.NoError(t, c.Close())
}

// Sweeping spares containers that another test process may be about to start.
func TestSweepSparesTheYoung(t *testing.T) {
	needServers(t)
	e := needDocker(t)
	img, err := e.image(testContext(t), Etcd)
	require.NoError(t, err)
	made, err := e.client.CreateContainer(docker.CreateContainerOptions{
		Config: &docker.Config{Image: img.ref, Labels: map[string]string{label: "etcd"}},
	})
	require.NoError(t, err)
	require.NoError(t, e.sweep(t.Context()))
	_, err = e.client.InspectContainer(made.ID)
	require.NoError(t, err)
	require.NoError(t, removeContainer(e.client, made.ID))
	require.NoError(t, removeContainer(e.client, made.ID), "gone is gone")
}

// Without Docker, servers are child processes.
func TestFallThrough(t *testing.T) {
	needServers(t)
	original := openEngine
	t.Cleanup(func() { openEngine = original })
	openEngine = sync.OnceValues(newEngine)
	t.Setenv("DOCKER_HOST", "unix:///nowhere/docker.sock")
	c, err := start(testContext(t), "", Config{Kind: Etcd})
	require.NoError(t, err)
	require.Equal(t, "process", c.Source())
	require.NoError(t, c.Close())

	_, err = start(testContext(t), byDocker, Config{Kind: Etcd})
	require.ErrorContains(t, err, "docker:")
	t.Setenv("SECKILL_TEST_ETCD_IMAGE", nowhere)
	_, err = start(testContext(t), "", Config{Kind: Etcd})
	require.ErrorContains(t, err, "docker:", "what was asked for by name is not replaced")
}
