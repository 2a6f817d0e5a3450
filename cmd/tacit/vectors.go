package main

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/tacit-fhe/tacit/cmd/tacit/internal/inspect"
	"github.com/tacit-fhe/tacit/fhe"
	"github.com/tacit-fhe/tacit/fhe/codec"
	"github.com/tacit-fhe/tacit/fhe/keyfile"
	"github.com/tacit-fhe/tacit/fhe/leveled"
)

// schemes are the values of --scheme.
var schemes = []string{"tfhe", leveled.BGV.String(), leveled.BFV.String(), leveled.CKKS.String()}

// vectorKeys are the flags of keygen that only keys of vectors have.
type vectorKeys struct {
	rotations []int
	swapRows  bool
}

func (k *vectorKeys) flags(cmd *cobra.Command, scheme *string) {
	flags := cmd.Flags()
	flags.StringVar(scheme, "scheme", schemes[0], "what to compute on: "+strings.Join(schemes, ", "))
	flags.IntSliceVar(&k.rotations, "rotations", nil, "rotations of vectors that get a key of their own (default all powers of two, which compose every other)")
	flags.BoolVar(&k.swapRows, "swap-rows", false, "a key that swaps the two rows of bgv and bfv vectors")
	complete(cmd, "scheme", schemes...)
}

func (k *vectorKeys) spec(p *leveled.Parameters) leveled.KeySpec {
	return leveled.KeySpec{Rotations: k.rotations, SwapRows: k.swapRows, Bootstrapping: p.Bootstraps()}
}

// vectorSet returns the parameter set of a scheme of vectors, or nil for tfhe.
func vectorSet(cmd *cobra.Command, scheme, params string) (*leveled.Parameters, error) {
	p, err := leveled.ByName(params)
	if err == nil && (scheme == schemes[0] && !cmd.Flags().Changed("scheme") || p.Scheme().String() == scheme) {
		return p, nil
	}
	if scheme == schemes[0] {
		return nil, nil
	}
	known := false
	for _, s := range schemes {
		known = known || s == scheme
	}
	if !known {
		return nil, wrongUsage(cmd, "no scheme %q; there are %s", scheme, strings.Join(schemes, ", "))
	}
	if f := cmd.Flags().Lookup("params"); f.Changed && f.Annotations[origin] == nil {
		return nil, &hinted{fmt.Errorf("%s is no parameter set of %s", params, scheme), "'tacit params' describes the parameter sets"}
	}
	return leveled.ByName(scheme + "-14")
}

// isVector says that a value of encrypt is a vector: its type is a scheme.
func isVector(arg string) bool {
	typ, _, _ := strings.Cut(arg, ":")
	switch typ {
	case leveled.BGV.String(), leveled.BFV.String(), leveled.CKKS.String():
		return true
	}
	return false
}

// isVectorKey says that the container of a secret key is one of a scheme of vectors.
func isVectorKey(data []byte) bool {
	h, err := codec.ReadHeader(bytes.NewReader(data))
	return err == nil && h.Kind == codec.LeveledSecretKey
}

// numbers splits the numbers of a vector, or reads them from a file.
func numbers(text string) ([]string, error) {
	if path, ok := strings.CutPrefix(text, "@"); ok {
		data, err := readFile(path)
		if err != nil {
			return nil, err
		}
		text = string(data)
	}
	return strings.FieldsFunc(text, func(r rune) bool { return strings.ContainsRune(", \t\r\n", r) }), nil
}

func (u *ui) encryptVectors(cmd *cobra.Command, key, passphraseFile, out string, args []string, bound int) (*encryptView, error) {
	p, id, enc, err := u.openVectorEncryptor(key, passphraseFile)
	if err != nil {
		return nil, err
	}
	view := &encryptView{File: out, KeyID: id.String()}
	var cts []*leveled.Ciphertext
	for _, arg := range args {
		typ, text, _ := strings.Cut(arg, ":")
		if typ != p.Scheme().String() {
			return nil, wrongUsage(cmd, "%s: a key of %s encrypts %s:…", arg, p.Name(), p.Scheme())
		}
		words, err := numbers(text)
		if err != nil {
			return nil, err
		}
		ct, err := encryptVector(p, enc, words, bound)
		if err != nil {
			return nil, err
		}
		cts = append(cts, ct)
		view.Types = append(view.Types, typ)
	}
	data, err := leveled.MarshalCiphertexts(cts...)
	if err != nil {
		return nil, err
	}
	if err := keyfile.WritePublic(out, data); err != nil {
		return nil, err
	}
	view.Size, view.Form = len(data), inspect.FormOf(cts[0])
	return view, nil
}

func encryptVector(p *leveled.Parameters, enc *leveled.Encryptor, words []string, bound int) (*leveled.Ciphertext, error) {
	if p.Scheme() == leveled.CKKS {
		values := make([]float64, len(words))
		for i, w := range words {
			v, err := strconv.ParseFloat(w, 64)
			if err != nil {
				return nil, fmt.Errorf("%q is no number", w)
			}
			values[i] = v
		}
		return enc.BoundedReals(values, bound)
	}
	values := make([]int64, len(words))
	for i, w := range words {
		v, err := strconv.ParseInt(w, 0, 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no integer", w)
		}
		values[i] = v
	}
	return enc.Integers(values)
}

// openVectorEncryptor reads a public or a secret key of a scheme of vectors.
func (u *ui) openVectorEncryptor(path, passphraseFile string) (*leveled.Parameters, fhe.KeyID, *leveled.Encryptor, error) {
	kind, err := inspect.DetectFile(path)
	if err == nil && kind == inspect.SecretKey {
		var data []byte
		if data, err = u.readSecretKey(path, passphraseFile); err != nil {
			return nil, fhe.KeyID{}, nil, err
		}
		sk, err := leveled.UnmarshalSecretKey(data, nil)
		if err != nil {
			return nil, fhe.KeyID{}, nil, inFile(path, err)
		}
		return sk.Parameters(), sk.ID(), leveled.NewEncryptor(sk), nil
	}
	if err == nil && kind != inspect.LeveledPublicKey {
		err = &kindError{kind, "public key or secret key of vectors"}
		if kind == inspect.PublicKey {
			err = errors.New("a key of integers encrypts integers, such as euint8:5; 'tacit keygen --scheme' makes keys of vectors")
		}
	}
	var data []byte
	if err == nil {
		data, err = readFile(path)
	}
	var pk *leveled.PublicKey
	if err == nil {
		pk, err = leveled.UnmarshalPublicKey(data, nil)
	}
	if err != nil {
		return nil, fhe.KeyID{}, nil, inFile(path, err)
	}
	return pk.Parameters(), pk.ID(), leveled.NewPublicEncryptor(pk), nil
}

// decryptVectors decrypts files of vectors with the container of a secret key.
func decryptVectors(key string, secret []byte, paths []string) ([]valueView, error) {
	sk, err := leveled.UnmarshalSecretKey(secret, nil)
	if err != nil {
		return nil, inFile(key, err)
	}
	dec := leveled.NewDecryptor(sk)
	views := []valueView{}
	for _, path := range paths {
		kind, err := inspect.DetectFile(path)
		if err == nil && kind != inspect.LeveledCiphertexts {
			err = &kindError{kind, "vectors"}
		}
		var data []byte
		if err == nil {
			data, err = readFile(path)
		}
		if err != nil {
			return nil, inFile(path, err)
		}
		cts, err := leveled.UnmarshalCiphertexts(data, sk.Parameters())
		if err != nil {
			return nil, inFile(path, err)
		}
		for i, ct := range cts {
			text, err := decryptVector(dec, ct)
			if err != nil {
				return nil, inFile(path, err)
			}
			views = append(views, valueView{path, i, sk.Parameters().Scheme().String(), text})
		}
	}
	return views, nil
}

func decryptVector(dec *leveled.Decryptor, ct *leveled.Ciphertext) (string, error) {
	var words []string
	if p := ct.Parameters(); p.Scheme() == leveled.CKKS {
		values, err := dec.Reals(ct)
		if err != nil {
			return "", err
		}
		// No digit that is smaller than eight standard deviations of the error.
		digits := max(0, int(math.Floor(-(p.LogError(ct.Noise())+3)*math.Log10(2))))
		for _, v := range values {
			word := strconv.FormatFloat(v, 'f', digits, 64)
			if strings.Trim(word, "-0.") == "" {
				word = "0"
			}
			words = append(words, word)
		}
	} else {
		values, err := dec.Integers(ct)
		if err != nil {
			return "", err
		}
		for _, v := range values {
			words = append(words, strconv.FormatInt(v, 10))
		}
	}
	return strings.Join(words, ","), nil
}

// vectorParamsView describes a parameter set of a scheme of vectors.
type vectorParamsView struct {
	Name             string  `json:"name"`
	Scheme           string  `json:"scheme"`
	Fingerprint      string  `json:"fingerprint"`
	RingDegree       int     `json:"ring_degree"`
	Slots            int     `json:"slots"`
	Levels           int     `json:"levels"`
	PlaintextModulus uint64  `json:"plaintext_modulus,omitempty"`
	LogScale         int     `json:"log2_scale,omitempty"`
	LogModulus       float64 `json:"log2_modulus"`
	Limit            float64 `json:"log2_modulus_limit"`
	SparseLogModulus float64 `json:"sparse_log2_modulus,omitempty"`
	SparseLimit      float64 `json:"sparse_log2_modulus_limit,omitempty"`
	Source           string  `json:"security_source"`
	Bootstraps       bool    `json:"bootstraps"`
	PublicKeySize    int64   `json:"public_key_size"`
	EvaluationKey    int64   `json:"evaluation_key_size"` // with keys for all powers of two
}

func newVectorParamsView(name string) (vectorParamsView, error) {
	p, err := leveled.ByName(name)
	if err != nil {
		return vectorParamsView{}, err
	}
	s := p.Security()
	key, err := p.EvaluationKeySize(leveled.KeySpec{Bootstrapping: p.Bootstraps()})
	return vectorParamsView{
		Name: name, Scheme: p.Scheme().String(), Fingerprint: fmt.Sprintf("%x", p.Fingerprint()), RingDegree: p.N(), Slots: p.Slots(), Levels: p.Levels(),
		PlaintextModulus: p.PlaintextModulus(), LogScale: p.Literal().LogScale, LogModulus: s.LogQP, Limit: s.Limit,
		SparseLogModulus: s.SparseLogQP, SparseLimit: s.SparseLimit, Source: s.Source, Bootstraps: p.Bootstraps(),
		PublicKeySize: p.PublicKeySize(), EvaluationKey: key,
	}, err
}

func vectorParamsViews() (views []vectorParamsView, err error) {
	for _, name := range leveled.Names() {
		v, err := newVectorParamsView(name)
		if err != nil {
			return nil, err
		}
		views = append(views, v)
	}
	return views, nil
}

func (u *ui) describeVectorParams(views []vectorParamsView) {
	u.table(func(row func(...any)) {
		row("NAME", "N", "SLOTS", "LEVELS", "VALUES", "MODULUS", "PUBLIC KEY", "EVALUATION KEY", "")
		for _, v := range views {
			values := fmt.Sprintf("modulo %d", v.PlaintextModulus)
			if v.PlaintextModulus == 0 {
				values = fmt.Sprintf("real, scale 2^%d", v.LogScale)
			}
			note := ""
			if v.Bootstraps {
				note = fmt.Sprintf("bootstraps; sparse secret %.0f of %.0f bits", v.SparseLogModulus, v.SparseLimit)
			}
			row(v.Name, v.RingDegree, v.Slots, v.Levels, values, fmt.Sprintf("%.0f of %.0f bits", v.LogModulus, v.Limit), size(v.PublicKeySize), size(v.EvaluationKey), note)
		}
	})
}
