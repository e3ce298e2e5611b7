package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v3"
)

// settings come from four places; what stands further left wins:
//
//	flags > PENSTOCK_* environment > YAML file > defaults
//
// A setting has one name in three spellings: --drain-timeout,
// PENSTOCK_DRAIN_TIMEOUT, drain_timeout.
type settings struct {
	file string // --config or PENSTOCK_CONFIG
	serverSettings

	fs      *pflag.FlagSet
	origins map[string]origin // by flag name
}

type serverSettings struct {
	Data             string
	HTTP             string
	Token            string
	TokenFile        string
	Insecure         bool
	TLSCert          string
	TLSKey           string
	Admin            string
	Partitions       int
	Memory           byteSize
	BodyBytes        byteSize
	HistoryBytes     byteSize
	IdempotencyBytes byteSize
	QueueIdle        idleLength
	DiskLow          byteSize
	DiskHard         byteSize
	DrainTimeout     time.Duration
	Name             string
	LogLevel         string
	LogFormat        string
}

// origin is where a setting's value comes from. Higher ranks win.
type origin struct {
	rank int
	text string
}

const (
	rankDefault = iota
	rankFile
	rankEnv
	rankFlag
)

func newSettings() *settings {
	s := &settings{fs: pflag.NewFlagSet("server", pflag.ContinueOnError), origins: map[string]origin{}}
	s.fs.SortFlags = false
	s.fs.StringVar(&s.Data, "data", "penstock-data", "`folder` that holds the queue; made if it is missing")
	s.fs.StringVar(&s.HTTP, "http", "127.0.0.1:7070", "`address` to listen on; the SDK's stream shares it; port 0 takes a free one")
	s.fs.StringVar(&s.Token, "token", "", "access token that clients must send (not a flag: other users could read it)")
	s.fs.StringVar(&s.TokenFile, "token-file", "", "`file` that holds the access token; needed off loopback")
	s.fs.BoolVar(&s.Insecure, "insecure", false, "serve other machines without a token")
	s.fs.StringVar(&s.TLSCert, "tls-cert", "", "`file` with the TLS certificate and its chain; with --tls-key it serves https")
	s.fs.StringVar(&s.TLSKey, "tls-key", "", "`file` with the key of the TLS certificate")
	s.fs.StringVar(&s.Admin, "admin", "", "`address` for profiles and a second /metrics, without a token: loopback only")
	s.fs.IntVar(&s.Partitions, "partitions", 0, "partitions that queues are spread over, fixed by a folder's first start; 0 is what the folder has, or 1")
	s.Memory, s.BodyBytes, s.HistoryBytes, s.IdempotencyBytes = 64<<20, 256<<20, 2<<30, 256<<20
	s.fs.Var(&s.Memory, "memory", "memory for waiting tasks' headers and payloads; a backlog may be far larger")
	s.fs.Var(&s.BodyBytes, "body-bytes", "memory for requests being received, all connections together; beyond it they wait, then are refused")
	s.fs.Var(&s.HistoryBytes, "history-bytes", "disk for finished tasks; beyond it the oldest go early")
	s.fs.Var(&s.IdempotencyBytes, "idempotency-bytes", "disk for the idempotency keys of one queue; beyond it new ones are refused")
	s.QueueIdle = idleLength(30 * 24 * time.Hour)
	s.fs.Var(&s.QueueIdle, "queue-idle", "a queue vanishes when it was empty and unused for so long, unless somebody has set it; 0 or off is never")
	s.fs.Var(&s.DiskLow, "disk-low", "free disk below which new tasks are refused; 0 is by the size of the disk")
	s.fs.Var(&s.DiskHard, "disk-hard", "free disk below which everything is refused; 0 is by the size of the disk")
	s.fs.DurationVar(&s.DrainTimeout, "drain-timeout", 10*time.Second, "time that a stopping server gives to calls in progress")
	s.fs.StringVar(&s.Name, "name", "", "what the server calls itself (default: the host's name)")
	s.fs.StringVar(&s.LogLevel, "log-level", "info", "least `level` that is logged: debug, info, warn or error")
	s.fs.StringVar(&s.LogFormat, "log-format", "text", "`format` of the log: text or json")
	return s
}

// addFlags puts the settings on a command. The global --token-file is hidden
// there by the server's own.
func (s *settings) addFlags(fs *pflag.FlagSet) {
	fs.SortFlags = false
	fs.StringVar(&s.file, "config", "", "YAML `file` with settings (default $PENSTOCK_CONFIG)")
	s.fs.VisitAll(func(f *pflag.Flag) {
		if f.Name != "token" {
			fs.AddFlag(f)
		}
	})
}

// load fills in what no flag has set, notes where each value comes from, and
// names every fault at once. changed is the command's set of flags.
func (s *settings) load(changed *pflag.FlagSet, getenv func(string) string) error {
	var faults []error
	s.fs.VisitAll(func(f *pflag.Flag) {
		s.origins[f.Name] = origin{rankDefault, "default"}
		if f.Name != "token" && changed.Changed(f.Name) {
			s.origins[f.Name] = origin{rankFlag, "flag --" + f.Name}
		}
	})
	if s.file == "" {
		s.file = getenv("PENSTOCK_CONFIG")
	}
	if s.file != "" {
		faults = append(faults, s.loadFile(s.file)...)
	}
	s.fs.VisitAll(func(f *pflag.Flag) {
		if v := getenv(envName(f.Name)); v != "" {
			if err := s.set(f, v, origin{rankEnv, envName(f.Name)}); err != nil {
				faults = append(faults, err)
			}
		}
	})
	if len(faults) == 0 {
		faults = append(faults, s.loadToken())
		faults = append(faults, s.validate()...)
	}
	err := errors.Join(faults...)
	if err == nil {
		err = s.accepted()
	}
	if err != nil {
		return &statusError{exitUsage, err}
	}
	return nil
}

func envName(flag string) string {
	return "PENSTOCK_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

func fileName(flag string) string { return strings.ReplaceAll(flag, "-", "_") }

// set gives a value unless a higher rank has given one.
func (s *settings) set(f *pflag.Flag, value string, from origin) error {
	if s.origins[f.Name].rank > from.rank {
		return nil
	}
	v := f.Value
	if o, ok := v.(*once); ok {
		v = o.Value
	}
	given := value
	if v.Type() == "duration" {
		given = inHours(value)
	}
	if err := v.Set(given); err != nil {
		return fmt.Errorf("%s: %s is %q: %s", from.text, fileName(f.Name), value, plainParseError(err))
	}
	s.origins[f.Name] = from
	return nil
}

// plainParseError takes the names of Go functions out of a number's error.
func plainParseError(err error) string {
	var num *strconv.NumError
	if errors.As(err, &num) {
		return num.Err.Error()
	}
	return strings.TrimPrefix(err.Error(), "time: ")
}

func (s *settings) loadFile(name string) []error {
	raw, err := os.ReadFile(name)
	if err != nil {
		return []error{fmt.Errorf("read settings: %w", err)}
	}
	dec := yaml.NewDecoder(strings.NewReader(string(raw)))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return nil // empty, or comments only
	} else if err != nil {
		return []error{fmt.Errorf("%s:%s: was it only half written?", name, notYAML(raw, err))}
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return []error{fmt.Errorf("%s holds more than one document: keep the settings in one", name)}
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return []error{fmt.Errorf("%s:%d: expected `name: value` lines: was the file only half written?", name, top.Line)}
	}
	var faults []error
	seen := map[string]int{}
	for i := 0; i+1 < len(top.Content); i += 2 {
		key, value := top.Content[i], top.Content[i+1]
		at := fmt.Sprintf("%s:%d", name, key.Line)
		if line, twice := seen[key.Value]; twice {
			faults = append(faults, fmt.Errorf("%s: %s is given twice, first on line %d", at, key.Value, line))
			continue
		}
		seen[key.Value] = key.Line
		if err := s.setFromFile(at, key.Value, value); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// notYAML is a parser's complaint with its line in front; at the end of the file
// it names none.
func notYAML(raw []byte, err error) string {
	text := strings.TrimPrefix(strings.TrimPrefix(err.Error(), "yaml: "), "while ")
	line := 1 + strings.Count(strings.TrimRight(string(raw), "\n"), "\n")
	if rest, ok := strings.CutPrefix(text, "line "); ok {
		if n, after, ok := strings.Cut(rest, ": "); ok {
			if at, err := strconv.Atoi(n); err == nil {
				line, text = min(at, line), after
			}
		}
	}
	return fmt.Sprintf("%d: not whole YAML: %s", line, text)
}

func (s *settings) setFromFile(at, key string, value *yaml.Node) error {
	f := s.fs.Lookup(strings.ReplaceAll(key, "_", "-"))
	if f == nil || strings.Contains(key, "-") {
		return fmt.Errorf("%s: unknown setting %q%s", at, key, s.nearest(key))
	}
	if value.Kind != yaml.ScalarNode {
		return fmt.Errorf("%s: %s takes one value, not a list or a mapping", at, key)
	}
	if value.Tag == "!!null" {
		return fmt.Errorf("%s: %s has no value: was the file only half written? Take the line out for the default", at, key)
	}
	return s.set(f, value.Value, origin{rankFile, at})
}

// nearest suggests what an unknown name may have meant.
func (s *settings) nearest(key string) string {
	best, name := editsMax+1, ""
	s.fs.VisitAll(func(f *pflag.Flag) {
		if d := editDistance(key, fileName(f.Name)); d < best {
			best, name = d, fileName(f.Name)
		}
	})
	if name == "" {
		return "; penstock config lists them"
	}
	return fmt.Sprintf("; did you mean %q?", name)
}

const editsMax = 2 // letters that a misspelt name may be off

func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}

// loadToken reads the token's file. Given in two places, the higher rank wins;
// given twice in one place it is a fault.
func (s *settings) loadToken() error {
	plain, file := s.origins["token"], s.origins["token-file"]
	switch {
	case file.rank == rankDefault || plain.rank > file.rank:
		return nil
	case plain.rank == file.rank:
		return fmt.Errorf("both token (%s) and token_file (%s) are given: use one", plain.text, file.text)
	}
	token, err := readToken(s.TokenFile)
	if err != nil {
		return err
	}
	s.Token = token
	s.origins["token"] = origin{file.rank, "file " + s.TokenFile}
	return nil
}

func readToken(name string) (string, error) {
	raw, err := os.ReadFile(name)
	if err != nil {
		return "", fmt.Errorf("read access token: %w", err)
	}
	token := strings.TrimSpace(string(raw))
	if token == "" {
		return "", fmt.Errorf("%s is empty: put the access token in it, such as the output of \"openssl rand -hex 32\"", name)
	}
	return token, nil
}

func loopback(host string) bool {
	if host == "localhost" {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}

// dataPath is the folder with its whole path, for people.
func (s *settings) dataPath() string {
	if abs, err := filepath.Abs(s.Data); err == nil {
		return abs
	}
	return s.Data
}

// byteSize is a number of bytes, written 64MiB, 2GiB, 500kB or plain.
type byteSize int64

// Set implements pflag.Value.
func (b *byteSize) Set(s string) error {
	number, unit := strings.TrimRight(s, "kKMGTiB"), int64(1)
	switch s[len(number):] {
	case "", "B":
	case "KiB", "K":
		unit = 1 << 10
	case "MiB", "M":
		unit = 1 << 20
	case "GiB", "G":
		unit = 1 << 30
	case "TiB", "T":
		unit = 1 << 40
	case "kB":
		unit = 1e3
	case "MB":
		unit = 1e6
	case "GB":
		unit = 1e9
	case "TB":
		unit = 1e12
	default:
		return fmt.Errorf("unknown unit: write 64MiB, 2GiB or a number of bytes")
	}
	n, err := strconv.ParseInt(strings.TrimSpace(number), 10, 64)
	if err != nil || n < 0 || n > (1<<62)/unit {
		return fmt.Errorf("not a size: write 64MiB, 2GiB or a number of bytes")
	}
	*b = byteSize(n * unit)
	return nil
}

// String implements pflag.Value.
func (b *byteSize) String() string {
	n := int64(*b)
	for _, u := range []struct {
		size int64
		name string
	}{{1 << 40, "TiB"}, {1 << 30, "GiB"}, {1 << 20, "MiB"}, {1 << 10, "KiB"}} {
		if n >= u.size && n%u.size == 0 {
			return strconv.FormatInt(n/u.size, 10) + u.name
		}
	}
	return strconv.FormatInt(n, 10)
}

// Type implements pflag.Value.
func (b *byteSize) Type() string { return "size" }
