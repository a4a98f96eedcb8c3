package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"

	"kivaloo/disk"
	"kivaloo/internal/must"
)

// credentials has the SDK find credentials, and nothing of this machine's.
func credentials(t *testing.T) {
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true",
		"AWS_CONFIG_FILE": "/nowhere", "AWS_SHARED_CREDENTIALS_FILE": "/nowhere", "AWS_PROFILE": "", "AWS_ENDPOINT_URL": "", "AWS_ENDPOINT_URL_S3": "",
	} {
		t.Setenv(name, value)
	}
}

// service starts an S3 service with one bucket, "b".
func service(t *testing.T) Service {
	t.Helper()
	credentials(t)
	backend := s3mem.New()
	must.Do(t, backend.CreateBucket("b"))
	server := httptest.NewServer(gofakes3.New(backend).Server())
	t.Cleanup(server.Close)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	return Service{Endpoint: server.URL, PathStyle: true}
}

// What is asked of a bucket is the same of the SDK's and of that in memory.
func TestBuckets(t *testing.T) {
	sdk, err := newAWS(t.Context(), "b", "some/prefix/", service(t))
	must.Do(t, err)
	for name, b := range map[string]bucket{"sdk": sdk, "memory": newMemory()} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			if _, err := b.head(ctx, "k"); !errors.Is(err, errNotFound) {
				t.Errorf("HEAD of nothing: %v", err)
			}
			if _, _, err := b.get(ctx, "k", 0, 0); !errors.Is(err, errNotFound) {
				t.Errorf("GET of nothing: %v", err)
			}
			if _, err := b.put(ctx, "k", nil, condition{etag: `"0"`}, putter{}); !errors.Is(err, errCondition) && !errors.Is(err, errNotFound) {
				t.Errorf("PUT over nothing: %v", err)
			}
			by := putter{"id-1", "a host, process 1, since 2026 ü"}
			etag, err := b.put(ctx, "k", []byte("0123456789"), condition{absent: true}, by)
			must.Do(t, err)
			o, err := b.head(ctx, "k")
			if err != nil || o != (object{10, etag, by}) {
				t.Errorf("HEAD: %+v, %v; the PUT said %s", o, err, etag)
			}
			for _, r := range []struct {
				offset, length int64
				want           string
			}{{0, 0, "0123456789"}, {0, 3, "012"}, {3, 4, "3456"}, {8, 100, "89"}} {
				content, _, err := b.get(ctx, "k", r.offset, r.length)
				if err != nil || string(content) != r.want {
					t.Errorf("GET %+v: %q, %v", r, content, err)
				}
			}
			if _, _, err := b.get(ctx, "k", 10, 5); !errors.Is(err, errNotFound) {
				t.Errorf("GET behind the end: %v", err)
			}
			if _, err := b.put(ctx, "k", nil, condition{absent: true}, putter{}); !errors.Is(err, errCondition) {
				t.Errorf("PUT where there is one: %v", err)
			}
			if _, err := b.put(ctx, "k", nil, condition{etag: `"0"`}, putter{}); !errors.Is(err, errCondition) {
				t.Errorf("PUT over another: %v", err)
			}
			if _, err = b.put(ctx, "k", nil, condition{etag: etag}, putter{id: "2"}); err != nil {
				t.Errorf("PUT over this one: %v", err)
			}
			if o, err := b.head(ctx, "k"); err != nil || o.length != 0 || o.by.id != "2" {
				t.Errorf("HEAD: %+v, %v", o, err)
			}
			must.Do(t, b.remove(ctx, "k"))
			must.Do(t, b.remove(ctx, "k"))
		})
	}
}

func TestStoreOverHTTP(t *testing.T) {
	svc := service(t)
	if _, err := Open(t.Context(), "s3://b/store", svc, Options{Log: quiet}); !errors.Is(err, ErrEmpty) || !strings.HasPrefix(err.Error(), "open s3://b/store: ") {
		t.Errorf("without a store: %v", err)
	}
	s, err := Open(t.Context(), "s3://b/store", svc, Options{NewBlockSize: size, Log: quiet})
	must.Do(t, err)
	at := appended(t, s, "a", 300)
	for i := range uint64(20) {
		appended(t, s, fmt.Sprint(i), 1)
	}
	closed(t, s)
	s, err = Open(t.Context(), "s3://b/store/", svc, Options{Log: quiet})
	must.Do(t, err)
	if got := text(t, s, at+299); got != "a/299" {
		t.Errorf("block %x is %q", at+299, got)
	}
	free(s, s.Info().Last)
	closed(t, s)
	if _, err := Open(t.Context(), "s3://none/x", svc, Options{NewBlockSize: size, Log: quiet}); err == nil || !strings.Contains(err.Error(), "NoSuchBucket") {
		t.Errorf("a bucket that does not exist: %v", err)
	}
	var _ disk.Store = s
}

// What each answer means: something that is certain, that may pass, or that will not.
func TestAnswers(t *testing.T) {
	credentials(t)
	const passes, lasts = "passes", "lasts"
	for _, c := range []struct {
		status int
		code   string
		want   any
	}{
		{404, "NoSuchKey", errNotFound}, {404, "", errNotFound}, {416, "InvalidRange", errNotFound}, {404, "NoSuchBucket", lasts},
		{412, "PreconditionFailed", errCondition}, {409, "ConditionalRequestConflict", passes},
		{500, "InternalError", passes}, {503, "SlowDown", passes}, {502, "", passes}, {429, "TooManyRequests", passes}, {400, "RequestTimeout", passes}, {400, "ExpiredToken", passes},
		{403, "AccessDenied", lasts}, {403, "", lasts}, {301, "PermanentRedirect", lasts}, {400, "InvalidArgument", lasts}, {501, "NotImplemented", passes},
		{200, "", passes}, // of no S3 service: it promises more than it sends
	} {
		requests := 0
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			requests++
			var body bytes.Buffer
			if c.code != "" {
				fmt.Fprintf(&body, "<Error><Code>%s</Code><Message>m</Message></Error>", c.code)
			}
			if c.status == 200 {
				w.Header().Set("Content-Length", "1000")
			}
			w.WriteHeader(c.status)
			w.Write(body.Bytes())
		}))
		b, err := newAWS(t.Context(), "b", "", Service{Endpoint: server.URL, PathStyle: true, PlainChecksums: true})
		must.Do(t, err)
		_, _, err = b.get(t.Context(), "k", 0, 0)
		var got any = passes
		switch {
		case errors.Is(err, errNotFound):
			got = errNotFound
		case errors.Is(err, errCondition):
			got = errCondition
		case isFatal(err):
			got = lasts
		}
		if got != c.want || err == nil || requests != 1 {
			t.Errorf("%d %s: %v, want %v; %d requests: %v", c.status, c.code, got, c.want, requests, err)
		}
		server.Close()
	}
	b, err := newAWS(t.Context(), "b", "", Service{Endpoint: "http://127.0.0.1:1", PathStyle: true})
	must.Do(t, err)
	if _, err := b.head(t.Context(), "k"); err == nil || unexpected(err) == false || isFatal(err) {
		t.Errorf("nobody there: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := b.head(ctx, "k"); !errors.Is(err, context.Canceled) || isFatal(err) {
		t.Errorf("cut off: %v", err)
	}
}

// Without credentials, or a region, asking again is of no use.
func TestNoCredentials(t *testing.T) {
	credentials(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "")
	b, err := newAWS(t.Context(), "b", "", Service{Endpoint: "http://127.0.0.1:1", PathStyle: true})
	must.Do(t, err)
	if _, err := b.head(t.Context(), "k"); !isFatal(err) {
		t.Errorf("no credentials: %v", err)
	}
	credentials(t)
	t.Setenv("AWS_REGION", "")
	if _, err = newAWS(t.Context(), "b", "", Service{}); !isFatal(err) {
		t.Errorf("no region: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, endpoint := range []string{"127.0.0.1:9000", "example.org", "ftp://example.org", "http://"} {
		if _, err := newAWS(t.Context(), "b", "", Service{Endpoint: endpoint, Region: "r"}); err == nil || !strings.Contains(err.Error(), "is not a URL") {
			t.Errorf("endpoint %q: %v", endpoint, err)
		}
	}
	for address, want := range map[string]string{"s3://b": "b|", "s3://b/": "b|", "s3://b/p": "b|p/", "s3://b/p/q/": "b|p/q/", "s3://b.example/p": "b.example|p/"} {
		if bucket, prefix, err := parseAddress(address); err != nil || bucket+"|"+prefix != want {
			t.Errorf("%s: %s|%s, %v", address, bucket, prefix, err)
		}
	}
	for _, address := range []string{"", "b", "s3:", "s3:///p", "http://b/p", "s3://u@b/p", "s3://b:1/p", "s3://b/p?x", "s3://b/p#x", "s3://b/a//b", "s3://b/a/../b", "s3://b/..", "\x00"} {
		if _, _, err := parseAddress(address); err == nil {
			t.Errorf("%q is taken", address)
		}
	}
}
