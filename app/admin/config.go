package admin

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/seed27495941/seckill/app/admin/access"
	"github.com/seed27495941/seckill/app/node"
	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/recipe/dynconf"
	"github.com/seed27495941/seckill/recipe/dynconf/history"
)

// A ConfigState is the cluster config, and what becomes of it.
type ConfigState struct {
	Published Published         `json:"published" doc:"What the store has"`
	Here      node.ConfigStatus `json:"here" doc:"What this process makes of it"`
	Nodes     []Applied         `json:"nodes" nullable:"false" doc:"What the listed nodes have in force"`
}

// Published is what the store has.
type Published struct {
	Exists   bool             `json:"exists"`
	Revision backend.Revision `json:"revision,omitempty"`
	Hash     string           `json:"hash,omitempty" doc:"Of the value"`
	Value    string           `json:"value,omitempty" doc:"As it was written, whether it can be used or not"`
	Error    string           `json:"error,omitempty" doc:"Why the store could not be asked"`
}

// Applied is what a node has in force.
type Applied struct {
	ID          string `json:"id"`
	InForceHash string `json:"inForceHash"`
	Same        bool   `json:"same" doc:"Whether that is what this process has in force"`
}

// GetConfig tells what is published, what is in force, and where. It answers also while
// the store is away, for then what is in force is of most use.
func (s *Service) GetConfig(ctx context.Context, _ *struct{}) (*Versioned[ConfigState], error) {
	state := ConfigState{Here: s.cfg.Node.ConfigStatus(), Nodes: []Applied{}}
	for _, n := range s.directory.Nodes() {
		state.Nodes = append(state.Nodes, Applied{n.ID, n.Config, n.Config == state.Here.InForceHash})
	}
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	e, err := s.published(ctx)
	switch {
	case err != nil:
		state.Published.Error = err.Error()
	case e.Revision != 0:
		state.Published = Published{Exists: true, Revision: e.Revision, Hash: dynconf.Hash(e.Value), Value: string(e.Value)}
		return &Versioned[ConfigState]{etag(e.Revision), state}, nil
	}
	return &Versioned[ConfigState]{Body: state}, nil
}

// published is what the store has, of revision 0 if it has nothing.
func (s *Service) published(ctx context.Context) (backend.Entry, error) {
	e, err := s.cfg.Node.Published(ctx)
	if errors.Is(err, backend.ErrNotFound) {
		err = nil
	}
	return e, err
}

// A ConfigText is a cluster config as text, which is published byte by byte.
type ConfigText struct {
	Value string `json:"value" maxLength:"131072" doc:"JSON, as it is to be in the store"`
}

// ConfigInput is a text that somebody edits.
type ConfigInput struct{ Body ConfigText }

// A Validation is what is wrong with a config.
type Validation struct {
	Valid  bool                   `json:"valid"`
	Faults []settings.ConfigFault `json:"faults" nullable:"false"`
}

// ValidateConfig tells what would be wrong with a config.
func (s *Service) ValidateConfig(_ context.Context, in *ConfigInput) (*Answer[Validation], error) {
	faults := s.cfg.Node.ConfigFaults([]byte(in.Body.Value))
	if faults == nil {
		faults = []settings.ConfigFault{}
	}
	return answer(Validation{len(faults) == 0, faults}), nil
}

// A Difference is what a config would change.
type Difference struct {
	Revision backend.Revision `json:"revision,omitempty" doc:"Of what is published, with which this compares; left out if nothing is"`
	Same     bool             `json:"same" doc:"Whether they say the same"`
	Fields   []FieldChange    `json:"fields" nullable:"false" doc:"One by one; none if one of them is no JSON"`
	Unified  string           `json:"unified" doc:"As text, for people"`
}

// A FieldChange is a field that would be another one.
type FieldChange struct {
	Field string          `json:"field"`
	From  json.RawMessage `json:"from,omitempty" doc:"Left out if it is not there"`
	To    json.RawMessage `json:"to,omitempty" doc:"Left out if it would not be there"`
}

// DiffConfig compares a config with what is published.
func (s *Service) DiffConfig(ctx context.Context, in *ConfigInput) (*Versioned[Difference], error) {
	e, err := s.published(ctx)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	to := []byte(in.Body.Value)
	d := Difference{Revision: e.Revision}
	if d.Unified, err = history.DiffText(fmt.Sprintf("published, revision %d", e.Revision), e.Value, "draft", to); err != nil {
		return nil, s.refuse(err, "") // so what follows is not deep
	}
	if d.Fields, err = compareFields(e.Value, to); err != nil {
		return nil, s.refuse(err, "")
	}
	d.Same = d.Unified == ""
	v := &Versioned[Difference]{Body: d}
	if e.Revision != 0 {
		v.ETag = etag(e.Revision)
	}
	return v, nil
}

// compareFields compares the values in two JSON texts. Errors: backend.ErrTooLarge.
func compareFields(from, to []byte) ([]FieldChange, error) {
	changes := []FieldChange{}
	a, errA := fieldsOf(from)
	b, errB := fieldsOf(to)
	switch {
	case errors.Is(errA, backend.ErrTooLarge):
		return nil, errA
	case errors.Is(errB, backend.ErrTooLarge):
		return nil, errB
	case errA != nil || errB != nil:
		return changes, nil //nolint:nilerr // what is no JSON has no fields
	}
	all := maps.Clone(a.values)
	maps.Copy(all, b.values)
	for _, field := range slices.Sorted(maps.Keys(all)) {
		if !bytes.Equal(a.values[field], b.values[field]) {
			changes = append(changes, FieldChange{field, a.values[field], b.values[field]})
		}
	}
	return changes, nil
}

// maxFields bounds the paths and the values of fields, in bytes: each path repeats the
// names of all objects around.
const maxFields = 1 << 20

// fields are the values of a JSON text that are no objects with members, each under its
// path.
type fields struct {
	values map[string]json.RawMessage
	size   int
}

// fieldsOf has the fields of a JSON text. No text has none. Errors: backend.ErrTooLarge,
// and of a text that is no JSON.
func fieldsOf(text []byte) (fields, error) {
	f := fields{values: map[string]json.RawMessage{}}
	if len(bytes.TrimSpace(text)) == 0 {
		return f, nil
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return f, err
	}
	err := f.add("", v)
	return f, err
}

func (f *fields) add(path string, v any) error {
	if object, ok := v.(map[string]any); ok && (len(object) > 0 || path == "") {
		for name, member := range object {
			at := name
			if path != "" {
				at = path + "." + name
			}
			if err := f.add(at, member); err != nil {
				return err
			}
		}
		return nil
	}
	encoded, err := json.Marshal(v)
	if f.size += len(path) + len(encoded); err == nil && f.size > maxFields {
		err = fmt.Errorf("%w: the fields, each with its path, have more than %d bytes", backend.ErrTooLarge, maxFields)
	}
	f.values[path] = encoded
	return err
}

// A ConfigVersion is what the config was at a time.
type ConfigVersion struct {
	history.Version
	Value string `json:"value,omitempty" doc:"As it was written; not in lists"`
}

func showVersion(v history.Version) ConfigVersion { return ConfigVersion{v, string(v.Value)} }

// PublishInput is a config that is to be in force.
type PublishInput struct {
	SeenOrNew
	Body struct {
		ConfigText
		Comment string `json:"comment" minLength:"1" maxLength:"1000" doc:"Why"`
	}
}

// PublishConfig makes a text the cluster config.
func (s *Service) PublishConfig(ctx context.Context, in *PublishInput) (*Versioned[ConfigVersion], error) {
	return s.changeConfig(ctx, "config.publish", in.SeenOrNew, in, in.Body.Comment, func(ctx context.Context, base backend.Revision, by history.Change) (history.Version, error) {
		return s.cfg.Node.Versions().Publish(ctx, base, []byte(in.Body.Value), by)
	})
}

// DeleteConfigInput says why there is to be no cluster config.
type DeleteConfigInput struct {
	Seen
	Comment string `query:"comment" required:"true" minLength:"1" maxLength:"1000" doc:"Why"`
}

// DeleteConfig deletes the cluster config: nodes go by their own settings then.
func (s *Service) DeleteConfig(ctx context.Context, in *DeleteConfigInput) (*struct{}, error) {
	_, err := s.changeConfig(ctx, "config.delete", SeenOrNew{Seen: in.Seen}, in, in.Comment, s.cfg.Node.Versions().Delete)
	return nil, err
}

// RollbackInput names a version that is to be in force again.
type RollbackInput struct {
	SeenOrNew
	Body struct {
		Revision backend.Revision `json:"revision" minimum:"1" doc:"Of the version"`
		Comment  string           `json:"comment" minLength:"1" maxLength:"1000" doc:"Why"`
	}
}

// RollbackConfig publishes an earlier version again, as a new one.
func (s *Service) RollbackConfig(ctx context.Context, in *RollbackInput) (*Versioned[ConfigVersion], error) {
	return s.changeConfig(ctx, "config.rollback", in.SeenOrNew, in, in.Body.Comment, func(ctx context.Context, base backend.Revision, by history.Change) (history.Version, error) {
		return s.cfg.Node.Versions().Rollback(ctx, in.Body.Revision, base, by)
	})
}

// changeConfig changes the cluster config as it was seen, and as in says.
func (s *Service) changeConfig(ctx context.Context, name string, on SeenOrNew, in any, comment string, change func(context.Context, backend.Revision, history.Change) (history.Version, error)) (*Versioned[ConfigVersion], error) {
	base, before, err := s.seenConfig(ctx, on, in)
	if err != nil {
		return nil, err
	}
	who, _ := access.FromContext(ctx)
	v, err := do(ctx, s, deed{access.Admin, name, settings.ConfigKey}, before, noSuchVersion, func(ctx context.Context) (ConfigVersion, error) {
		v, err := change(ctx, base, history.Change{Author: who.Name, Comment: comment})
		return showVersion(v), err
	})
	if err != nil {
		return nil, err
	}
	return &Versioned[ConfigVersion]{etag(v.Revision), v}, nil
}

// seenConfig is the revision on which an admin changes the config, if in fits, and the
// value it has.
func (s *Service) seenConfig(ctx context.Context, on SeenOrNew, in any) (base backend.Revision, before any, err error) {
	if err := s.may(ctx, access.Admin, in); err != nil {
		return 0, nil, err
	}
	if base, err = on.revision(); err != nil {
		return 0, nil, err
	}
	e, err := s.published(ctx)
	switch {
	case err != nil:
		return 0, nil, s.refuse(err, "")
	case e.Revision != base:
		return 0, nil, stale(e.Revision)
	case e.Revision != 0:
		before = e.Value
	}
	return base, before, nil
}

// A VersionList is a page of the versions that are recorded, the newest first.
type VersionList struct {
	Versions []ConfigVersion `json:"versions" nullable:"false"`
	Problems []string        `json:"problems,omitempty" nullable:"false" doc:"Records that can't be read, and why"`
	Next     string          `json:"next,omitempty" doc:"To be sent as after, to get the next page; left out on the last one"`
}

// ListVersions lists the versions of the config.
func (s *Service) ListVersions(ctx context.Context, in *Page) (*Answer[VersionList], error) {
	if err := fits(in); err != nil {
		return nil, err
	}
	all, unreadable, err := s.cfg.Node.Versions().Versions(ctx)
	if err != nil {
		return nil, s.refuse(err, "")
	}
	slices.Reverse(all)
	if in.After != "" {
		i := slices.IndexFunc(all, func(v history.Version) bool { return versionName(v) == in.After })
		if i < 0 {
			return nil, invalidAt("query.after", "there is no such version, or not any more")
		}
		all = all[i+1:]
	}
	page, next := cut(*in, all, versionName)
	list := VersionList{Versions: []ConfigVersion{}, Next: next}
	for _, v := range page {
		list.Versions = append(list.Versions, ConfigVersion{Version: v})
	}
	for _, fault := range unreadable {
		list.Problems = append(list.Problems, fault.Error())
	}
	return answer(list), nil
}

// versionName tells a version from the deletion of it.
func versionName(v history.Version) string {
	if v.Deleted {
		return fmt.Sprintf("%d-deleted", v.Revision)
	}
	return fmt.Sprint(v.Revision)
}

// VersionPath names a version of the config.
type VersionPath struct {
	Revision uint64 `path:"revision" minimum:"1"`
}

// GetVersion finds a version of the config.
func (s *Service) GetVersion(ctx context.Context, in *VersionPath) (*Answer[ConfigVersion], error) {
	v, err := s.cfg.Node.Versions().Version(ctx, backend.Revision(in.Revision))
	if err != nil {
		return nil, s.refuse(err, noSuchVersion)
	}
	return answer(showVersion(v)), nil
}
