package main

import (
	"bytes"
	"encoding/json"
	"regexp"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v3"
)

// toYAML goes through JSON, so that names, their order and long numbers stay.
// The JSON is decoded as JSON: YAML knows fewer escapes.
func toYAML(v any) ([]byte, error) {
	raw, err := marshal(v, "")
	if err != nil {
		return nil, err
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	node, err := yamlNode(dec)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	enc := yaml.NewEncoder(&b)
	enc.SetIndent(2)
	if err := enc.Encode(node); err != nil {
		return nil, err
	}
	return b.Bytes(), enc.Close()
}

// yamlNode is the next value of dec.
func yamlNode(dec *json.Decoder) (*yaml.Node, error) {
	tok, err := dec.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		if tok == '{' {
			return yamlMapping(dec)
		}
		return yamlSequence(dec)
	case string:
		return yamlText(tok), nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Value: tok.String()}, nil // without a tag it stays as it is
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: map[bool]string{true: "true", false: "false"}[tok]}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// yamlMapping takes the last of equal names, as readers of JSON do: YAML
// forbids a second one.
func yamlMapping(dec *json.Decoder) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.MappingNode}
	places := map[string]int{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return nil, err
		}
		value, err := yamlNode(dec)
		if err != nil {
			return nil, err
		}
		name, _ := tok.(string)
		if i, twice := places[name]; twice {
			n.Content[i] = value
			continue
		}
		n.Content = append(n.Content, yamlText(name), value)
		places[name] = len(n.Content) - 1
	}
	_, err := dec.Token()
	return n, err
}

func yamlSequence(dec *json.Decoder) (*yaml.Node, error) {
	n := &yaml.Node{Kind: yaml.SequenceNode}
	for dec.More() {
		e, err := yamlNode(dec)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, e)
	}
	_, err := dec.Token()
	return n, err
}

// oldScalar is what YAML 1.1 takes for a boolean or a number to the base 60.
// The encoder quotes what YAML 1.2 takes for something else.
var oldScalar = regexp.MustCompile(`^(?i:y|yes|on|n|no|off|[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)$`)

func yamlText(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if strings.ContainsFunc(s, unicode.IsControl) || oldScalar.MatchString(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}
