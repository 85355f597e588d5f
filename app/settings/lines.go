package settings

import (
	"github.com/knadh/koanf/v2"
	"github.com/pelletier/go-toml/v2/unstable"
	"go.yaml.in/yaml/v3"
)

// A lineParser parses a file, and notes on which lines its keys are.
type lineParser struct {
	koanf.Parser
	find  func(content []byte) map[string]int
	lines map[string]int // by key, from 1; what could not be found is missing
}

// Unmarshal implements koanf.Parser.
func (p *lineParser) Unmarshal(content []byte) (map[string]any, error) {
	values, err := p.Parser.Unmarshal(content)
	if err == nil {
		p.lines = p.find(content)
	}
	return values, err
}

// tomlLines finds the keys of a TOML document that can be parsed.
func tomlLines(content []byte) map[string]int {
	lines := map[string]int{}
	var p unstable.Parser
	p.Reset(content)
	table := ""
	for p.NextExpression() {
		e := p.Expression()
		switch e.Kind {
		case unstable.Table, unstable.ArrayTable:
			table = noteTOML(&p, lines, "", e.Key())
		case unstable.KeyValue:
			noteTOMLValue(&p, lines, table, e)
		default: // a comment
		}
	}
	return lines
}

// noteTOMLValue notes a key and, if it has a table as its value, the keys in that.
func noteTOMLValue(p *unstable.Parser, lines map[string]int, section string, pair *unstable.Node) {
	key := noteTOML(p, lines, section, pair.Key())
	if pair.Value().Kind != unstable.InlineTable {
		return
	}
	for inner := pair.Value().Children(); inner.Next(); {
		noteTOMLValue(p, lines, key, inner.Node())
	}
}

// noteTOML notes a dotted key, and those that it begins with, and returns it whole.
func noteTOML(p *unstable.Parser, lines map[string]int, section string, parts unstable.Iterator) string {
	for parts.Next() {
		part := parts.Node()
		section = join(section, string(part.Data))
		if _, known := lines[section]; !known {
			lines[section] = p.Shape(part.Raw).Start.Line
		}
	}
	return section
}

// yamlLines finds the keys of a YAML document that can be parsed.
func yamlLines(content []byte) map[string]int {
	lines := map[string]int{}
	var document yaml.Node
	if yaml.Unmarshal(content, &document) == nil && len(document.Content) > 0 {
		noteYAML(lines, "", document.Content[0])
	}
	return lines
}

func noteYAML(lines map[string]int, section string, n *yaml.Node) {
	if n.Kind != yaml.MappingNode {
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := join(section, n.Content[i].Value)
		lines[key] = n.Content[i].Line
		noteYAML(lines, key, n.Content[i+1])
	}
}

func join(section, name string) string {
	if section == "" {
		return name
	}
	return section + "." + name
}
