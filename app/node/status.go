package node

import (
	"context"
	"errors"
	"time"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/registry"
)

// A Status is what a process says about itself. Making it asks nobody.
type Status struct {
	Version string    `json:"version"`
	Backend string    `json:"backend"`
	Started time.Time `json:"started"`

	Ready    bool   `json:"ready"`
	NotReady string `json:"notReady,omitempty"` // why

	Store  StoreStatus   `json:"store"`
	Node   *Registration `json:"node,omitempty"` // none if buyers do not come here
	Config ConfigStatus  `json:"config"`

	// Settings is about the settings file; none if the process was started without.
	Settings *settings.FileStatus `json:"settings,omitempty"`

	Nodes Directory `json:"nodes"`
}

// StoreStatus tells how the process and the store get on, from what the store
// was asked anyway. Some answer is due every 30 seconds.
type StoreStatus struct {
	Reachable bool      `json:"reachable"`
	Answered  time.Time `json:"answered,omitzero"` // when it last did
}

// A Registration tells whether the node is listed.
type Registration struct {
	ID          string `json:"id"`
	Addr        string `json:"addr"`
	Incarnation string `json:"incarnation"`

	Registered bool             `json:"registered"`
	Since      time.Time        `json:"since,omitzero"`
	Revision   backend.Revision `json:"revision,omitempty"`
	Lease      string           `json:"lease,omitempty"`
	TTLSeconds float64          `json:"ttlSeconds,omitempty"` // as granted
	ReplacedBy string           `json:"replacedBy,omitempty"` // incarnation of the process that has the id now

	// The last trouble there was, over or not.
	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
}

// ConfigStatus tells which cluster config is in force, and which was refused.
type ConfigStatus struct {
	InForce settings.Cluster `json:"inForce"`

	// InForceHash names what is in force, fields from settings included: nodes
	// with the same hash do the same. It is what nodes are listed with.
	InForceHash string `json:"inForceHash"`

	// Override is what was pushed to this node, and counts more than all else; nil if
	// nothing was.
	Override *Override `json:"override,omitempty"`

	Source   dynconf.Source   `json:"source"` // store, rollout, or defaults: this process's own settings
	Revision backend.Revision `json:"revision,omitempty"`
	Rollout  string           `json:"rollout,omitempty"` // that is on trial here
	Hash     string           `json:"hash,omitempty"`    // of the value as published, or on trial
	Since    time.Time        `json:"since"`

	// Refusal is about what is published now, if that is not in force.
	Refusal *dynconf.Refusal `json:"refusal,omitempty"`

	// Failure is about the rollout that would be on trial here, had it not failed.
	Failure *dynconf.Failure `json:"failure,omitempty"`

	// How many values were put in force, and published ones refused, so far.
	Applied uint64 `json:"applied"`
	Refused uint64 `json:"refused"`

	LastError   string    `json:"lastError,omitempty"`
	LastErrorAt time.Time `json:"lastErrorAt,omitzero"`
}

// A Directory tells how well the process knows the other nodes.
type Directory struct {
	Synced           bool    `json:"synced"`
	Listed           int     `json:"listed"`
	StalenessSeconds float64 `json:"stalenessSeconds,omitempty"` // since the store last confirmed the list
}

// Status tells how the node stands.
func (n *Node) Status() Status {
	s := Status{
		Version: n.cfg.Version,
		Backend: n.cfg.Backend,
		Started: n.started,
		Ready:   true,
		Node:    n.registrationStatus(),
		Config:  n.ConfigStatus(),
		Nodes:   n.directoryStatus(),
	}
	s.Store.Answered, s.Store.Reachable = n.contact.last()
	if err := n.Ready(); err != nil {
		s.Ready, s.NotReady = false, err.Error()
	}
	return s
}

// Ready says why the node is not ready to serve, nil if it is. Once it has
// heard from the store it stays ready while the store is away, for it serves
// from what it knows. The reason tells strangers nothing.
func (n *Node) Ready() error {
	switch {
	case n.draining.Load():
		return errors.New("stopping")
	case !isClosed(n.published.Synced()):
		return errors.New("starting: the cluster config has not been read yet")
	case n.place != nil && n.place.status().Replaced:
		return errors.New("replaced by another process at the same address; restart it, or give each its own --advertise")
	case !isClosed(n.directory.Synced()):
		return errors.New("starting: the list of nodes has not been read yet")
	}
	return nil
}

// AwaitReady waits until the node is ready, and listed if it is to be. It
// returns context.Cause(ctx) when ctx ends first.
func (n *Node) AwaitReady(ctx context.Context) error {
	waits := []<-chan struct{}{n.published.Synced(), n.directory.Synced()}
	if n.place != nil {
		waits = append(waits, n.place.ready())
	}
	for _, wait := range waits {
		select {
		case <-wait:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if n.place != nil {
		return n.awaitOwnListing(ctx)
	}
	return nil
}

// awaitOwnListing waits until the process that is listed sees itself, so that
// whoever is told that it is ready does too.
func (n *Node) awaitOwnListing(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	n.directory.Subscribe(func(registry.Change) {
		select {
		case changed <- struct{}{}:
		default:
		}
	})
	for {
		if _, ok := n.directory.Node(n.place.status().Node.ID); ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// ConfigStatus tells which cluster config is in force.
func (n *Node) ConfigStatus() ConfigStatus {
	status, current := n.published.Status(), n.current.Load()
	return ConfigStatus{
		InForce:     current.inForce,
		InForceHash: hash(current.inForce),
		Override:    current.override,
		Source:      status.Source,
		Revision:    status.Revision,
		Rollout:     status.Rollout,
		Hash:        status.Hash,
		Since:       status.Since,
		Refusal:     status.Refusal,
		Failure:     status.Failure,
		Applied:     status.Applied,
		Refused:     status.Refused,
		LastError:   status.LastError,
		LastErrorAt: status.LastErrorAt,
	}
}

func (n *Node) registrationStatus() *Registration {
	if n.place == nil {
		return nil
	}
	status := n.place.status()
	return &Registration{
		ID:          status.Node.ID,
		Addr:        status.Node.Addr,
		Incarnation: status.Node.Incarnation,
		Registered:  status.Registered,
		Since:       status.Since,
		Revision:    status.Revision,
		Lease:       status.Lease,
		TTLSeconds:  status.TTL.Seconds(),
		ReplacedBy:  status.ReplacedBy,
		LastError:   status.LastError,
		LastErrorAt: status.LastErrorAt,
	}
}

func (n *Node) directoryStatus() Directory {
	status := Directory{Synced: isClosed(n.directory.Synced()), Listed: len(n.directory.Nodes())}
	if status.Synced {
		status.StalenessSeconds = n.directory.Staleness().Seconds()
	}
	return status
}

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}
