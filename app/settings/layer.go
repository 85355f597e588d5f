package settings

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/v2"
)

// A layer is what one source gives.
type layer struct {
	values map[string]any          // by key, nested ones joined with dots
	place  func(key string) string // how the source calls a key
}

func (from Sources) layers() ([]layer, error) {
	fromFile, err := fileLayer(from.File)
	if err != nil {
		return nil, err
	}
	fromEnv, err := envLayer(from.Environ)
	if err != nil {
		return nil, err
	}
	return []layer{fromFile, fromEnv, flagLayer(from.Flags)}, nil
}

// apply sets what the layer gives and notes where each key was given.
func (l layer) apply(s *Settings, given map[string]string) error {
	keys := map[string]setting{}
	for _, k := range known() {
		keys[k.key] = k
	}
	for _, name := range slices.Sorted(maps.Keys(l.values)) {
		value := l.values[name]
		k, ok := keys[name]
		if !ok {
			if isEmptySection(name, value) {
				continue
			}
			return fmt.Errorf("%s: %s", l.place(name), unknown(name))
		}
		if err := k.set(s, value); err != nil {
			return fmt.Errorf("%s: %w", l.place(name), err)
		}
		given[name] = l.place(name)
	}
	return nil
}

// outranked lists the hot settings of a layer that were given again after it, and
// where.
func (l layer) outranked(given map[string]string) []string {
	var keys []string
	for _, k := range known() {
		if _, ok := l.values[k.key]; ok && k.isHot() && given[k.key] != l.place(k.key) {
			keys = append(keys, fmt.Sprintf("%s by %s", k.key, given[k.key]))
		}
	}
	return keys
}

// isEmptySection reports whether name is a section, with nothing in it.
func isEmptySection(name string, value any) bool {
	section, ok := value.(map[string]any)
	return (value == nil || ok && len(section) == 0) &&
		slices.ContainsFunc(known(), func(k setting) bool { return strings.HasPrefix(k.key, name+".") })
}

func fileLayer(name string) (layer, error) {
	if name == "" {
		return layer{}, nil
	}
	parser, err := parserFor(name)
	if err != nil {
		return layer{}, err
	}
	k := koanf.New(".")
	if err := k.Load(file.Provider(name), parser); err != nil {
		var missing *fs.PathError
		if errors.As(err, &missing) {
			return layer{}, fmt.Errorf("config file: %w", missing)
		}
		return layer{}, fmt.Errorf("%s: %s", name, explain(err))
	}
	return layer{k.All(), func(key string) string {
		if line, ok := parser.lines[key]; ok {
			return fmt.Sprintf("%s: line %d: %s", name, line, key)
		}
		return name + ": " + key
	}}, nil
}

func parserFor(name string) (*lineParser, error) {
	switch filepath.Ext(name) {
	case ".toml":
		return &lineParser{Parser: toml.Parser(), find: tomlLines}, nil
	case ".yaml", ".yml":
		return &lineParser{Parser: yaml.Parser(), find: yamlLines}, nil
	}
	return nil, fmt.Errorf("%s: expected a file whose name ends in .toml, .yaml or .yml", name)
}

func envLayer(environ []string) (layer, error) {
	keys := map[string]string{} // by the name in the environment
	for _, k := range known() {
		keys[envName(k.key)] = k.key
	}
	k := koanf.New(".")
	err := k.Load(env.Provider(".", env.Opt{
		Prefix:      envPrefix,
		EnvironFunc: func() []string { return environ },
		TransformFunc: func(name, value string) (string, any) {
			if value == "" { // tools set what they have no value for to nothing
				return "", nil
			}
			return keys[name], value
		},
	}), nil)
	return layer{k.All(), envName}, err
}

const envPrefix = "SECKILL_"

// envName is a key's name in the environment. Some options go without their
// section there, as their flags do: SECKILL_ENDPOINTS, SECKILL_CA,
// SECKILL_ADVERTISE.
func envName(key string) string {
	name := strings.TrimPrefix(strings.TrimPrefix(key, "store."), "tls.")
	if name == "api.advertise" {
		name = "advertise"
	}
	return envPrefix + strings.ToUpper(strings.ReplaceAll(name, ".", "_"))
}

func flagLayer(flags []Flag) layer {
	values, names := map[string]any{}, map[string]string{}
	for _, f := range flags {
		values[f.Key], names[f.Key] = f.Value, f.Name
	}
	return layer{values, func(key string) string { return names[key] }}
}

// explain tells what is wrong with a file without quoting it: a parser shows
// what it stumbled over, and that may be a password.
func explain(err error) string {
	var at interface{ Position() (row, column int) }
	if errors.As(err, &at) {
		row, column := at.Position()
		return fmt.Sprintf("line %d, column %d: %s", row, column, unquote(err.Error()))
	}
	return unquote(err.Error())
}

func unquote(text string) string {
	return regexp.MustCompile("`[^`]*`|'[^']*'|\"[^\"]*\"").ReplaceAllString(text, "…")
}
