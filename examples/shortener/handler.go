package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"kivaloo"
)

const (
	// codeLen is the length of a short code, in characters of 5 bits.
	codeLen = 8

	// maxFormBytes limits the part of a request that is read. A store takes values of up to 255
	// bytes.
	maxFormBytes = 4 << 10

	// maxAttempts is the number of codes to try. A second one is hardly ever needed.
	maxAttempts = 5

	// storeTime is how long a request waits for the store.
	storeTime = 3 * time.Second
)

// shortener keeps each link under its code. It has no state of its own, so any number of
// processes can work on one server's store.
type shortener struct {
	store   kivaloo.Store
	log     *slog.Logger
	newCode func() string
}

func (s *shortener) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /{$}", s.shorten)
	mux.HandleFunc("GET /{code}", s.redirect)
	return mux
}

// randomCode returns a code that nobody can guess.
func randomCode() string { return strings.ToLower(rand.Text()[:codeLen]) }

// key returns the key for the link of a code. The prefix leaves room for other data in the same
// store.
func key(code string) []byte { return []byte("link/" + code) }

// shorten stores the form's url under a new code, and answers with the short link.
func (s *shortener) shorten(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxFormBytes)
	if err := r.ParseForm(); err != nil {
		http.Error(w, "cannot read the form: "+err.Error(), http.StatusBadRequest)
		return
	}
	link := r.PostForm.Get("url")
	if err := checkLink(link); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	code, err := s.add(r.Context(), link)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	w.Header().Set("Location", "/"+code)
	w.WriteHeader(http.StatusCreated)
	fmt.Fprintf(w, "http://%s/%s\n", r.Host, code)
}

// checkLink returns an error unless browsers may be sent to link.
func checkLink(link string) error {
	u, err := url.Parse(link)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return errors.New("the form's field url must be a complete link, with http:// or https:// in front")
	}
	return nil
}

// add stores link under an unused code. Add checks and stores in one step, so two requests with the
// same code cannot both get it.
//
// After an error the link may have been stored all the same. That does no harm, because the code is
// unknown to everybody. Where it matters, use errors.As with a *kivaloo.OpError.
func (s *shortener) add(ctx context.Context, link string) (code string, err error) {
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	for range maxAttempts {
		code := s.newCode()
		added, err := s.store.Add(ctx, key(code), []byte(link))
		if err != nil {
			return "", err
		}
		if added {
			return code, nil
		}
	}
	return "", fmt.Errorf("%d codes were all in use", maxAttempts)
}

// redirect sends a browser to the link of the code in its request.
func (s *shortener) redirect(w http.ResponseWriter, r *http.Request) {
	code := r.PathValue("code")
	if len(code) != codeLen {
		http.NotFound(w, r)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), storeTime)
	defer cancel()
	link, err := s.store.Get(ctx, key(code))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	http.Redirect(w, r, string(link), http.StatusFound)
}

// fail answers a request that the store could not execute. It logs only errors that the client has
// not caused.
func (s *shortener) fail(w http.ResponseWriter, r *http.Request, err error) {
	switch {
	case errors.Is(err, kivaloo.ErrNotFound):
		http.NotFound(w, r)
	case errors.Is(err, kivaloo.ErrTooLong):
		http.Error(w, "the link is longer than can be stored", http.StatusBadRequest)
	default:
		s.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
		http.Error(w, "the store does not answer; try again later", http.StatusServiceUnavailable)
	}
}
