package s3

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/logging"
)

// Service says where the bucket is. What is empty is taken from the environment, the profile or the
// instance's metadata, as with other programs that use the AWS SDK. So are the credentials.
type Service struct {
	Endpoint  string // URL of a service other than Amazon's
	Region    string
	PathStyle bool // the bucket is in the path, not in the host name, of requests
	// PlainChecksums leaves out checksums that not all services know: requests and answers have
	// only those that they must have.
	PlainChecksums bool
}

// Open claims the store at an address such as s3://bucket/prefix, and starts it. ctx bounds that.
// The error wraps ErrEmpty if there is none, and Options.NewBlockSize is 0.
func Open(ctx context.Context, address string, service Service, o Options) (*Store, error) {
	name, prefix, err := parseAddress(address)
	if err != nil {
		return nil, err
	}
	b, err := newAWS(ctx, name, prefix, service)
	if err == nil {
		var s *Store
		if s, err = open(ctx, b, o); err == nil {
			return s, nil
		}
	}
	return nil, fmt.Errorf("open %s: %w", address, err)
}

// parseAddress returns the bucket and the prefix of keys, which is empty or ends in a slash.
func parseAddress(address string) (bucket, prefix string, err error) {
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "s3" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil || u.Port() != "" {
		return "", "", fmt.Errorf("%q is not an address like s3://bucket/prefix", address)
	}
	if prefix = strings.Trim(u.Path, "/"); prefix != "" {
		if path.Clean(prefix) != prefix || strings.HasPrefix(prefix, "..") {
			return "", "", fmt.Errorf("%q: services disagree about a prefix with empty, . or .. parts", address)
		}
		prefix += "/"
	}
	return u.Host, prefix, nil
}

// awsBucket is a bucket of the SDK's.
type awsBucket struct {
	client       *s3.Client
	name, prefix string
}

// Metadata of objects.
const (
	metaID     = "kivaloo-id"
	metaWriter = "kivaloo-writer"
)

func newAWS(ctx context.Context, name, prefix string, service Service) (*awsBucket, error) {
	if u, err := url.Parse(service.Endpoint); service.Endpoint != "" && (err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "") {
		return nil, fmt.Errorf("%q is not a URL like https://s3.example.org", service.Endpoint)
	}
	load := []func(*config.LoadOptions) error{
		// A conditional put that is repeated by the SDK would report its own success as a failure.
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }),
		config.WithLogger(logging.Nop{}), // it would write to stderr, about each answer without a checksum
		config.WithHTTPClient(awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) {
			t.MaxIdleConnsPerHost = MaxReaders + deletesAtOnce + wholeAhead
		})),
	}
	if service.Region != "" {
		load = append(load, config.WithRegion(service.Region))
	}
	cfg, err := config.LoadDefaultConfig(ctx, load...)
	if err != nil {
		return nil, err
	}
	if cfg.Region == "" {
		return nil, fatalError{errors.New("no region is set: set AWS_REGION, or the profile's")}
	}
	client := s3.NewFromConfig(cfg, func(o *s3.Options) {
		o.UsePathStyle = service.PathStyle
		if service.Endpoint != "" {
			o.BaseEndpoint = &service.Endpoint
		}
		if service.PlainChecksums {
			o.RequestChecksumCalculation = aws.RequestChecksumCalculationWhenRequired
			o.ResponseChecksumValidation = aws.ResponseChecksumValidationWhenRequired
		}
	})
	return &awsBucket{client, name, prefix}, nil
}

func (b *awsBucket) key(key string) *string { return aws.String(b.prefix + key) }

func (b *awsBucket) head(ctx context.Context, key string) (object, error) {
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: b.key(key)})
	if err != nil {
		return object{}, answer(err)
	}
	return object{aws.ToInt64(out.ContentLength), aws.ToString(out.ETag), putterOf(out.Metadata)}, nil
}

func (b *awsBucket) get(ctx context.Context, key string, offset, length int64) ([]byte, object, error) {
	in := &s3.GetObjectInput{Bucket: &b.name, Key: b.key(key)}
	if length > 0 {
		in.Range = aws.String(fmt.Sprintf("bytes=%d-%d", offset, offset+length-1))
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, object{}, answer(err)
	}
	defer out.Body.Close()
	size := aws.ToInt64(out.ContentLength)
	if length > 0 && size > length {
		return nil, object{}, fatalError{fmt.Errorf("asked for %d bytes, and was sent %d: the service does not understand ranges", length, size)}
	}
	content := make([]byte, size)
	if _, err := io.ReadFull(out.Body, content); err != nil {
		return nil, object{}, err
	}
	return content, object{size, aws.ToString(out.ETag), putterOf(out.Metadata)}, nil
}

func (b *awsBucket) put(ctx context.Context, key string, content []byte, when condition, by putter) (string, error) {
	in := &s3.PutObjectInput{
		Bucket: &b.name, Key: b.key(key), Body: bytes.NewReader(content), ContentLength: aws.Int64(int64(len(content))),
		Metadata: map[string]string{metaID: by.id, metaWriter: url.QueryEscape(by.writer)},
	}
	if when.absent {
		in.IfNoneMatch = aws.String("*")
	}
	if when.etag != "" {
		in.IfMatch = &when.etag
	}
	out, err := b.client.PutObject(ctx, in)
	if err != nil {
		return "", answer(err)
	}
	return aws.ToString(out.ETag), nil
}

func (b *awsBucket) remove(ctx context.Context, key string) error {
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: b.key(key)})
	if err = answer(err); errors.Is(err, errNotFound) {
		return nil
	}
	return err
}

// putterOf returns who put an object. Names of metadata are not case-sensitive.
func putterOf(metadata map[string]string) (by putter) {
	for name, value := range metadata {
		switch strings.ToLower(name) {
		case metaID:
			by.id = value
		case metaWriter:
			by.writer, _ = url.QueryUnescape(value)
		}
	}
	return by
}

// answer returns what an error of the SDK means.
func answer(err error) error {
	if err == nil {
		return nil
	}
	var api smithy.APIError
	code := ""
	if errors.As(err, &api) {
		code = api.ErrorCode()
	}
	var response *awshttp.ResponseError
	if !errors.As(err, &response) {
		if strings.Contains(err.Error(), "get credentials") && !errors.Is(err, context.DeadlineExceeded) {
			return fatalError{err}
		}
		return err // there was no answer
	}
	switch status := response.HTTPStatusCode(); {
	case code == "NoSuchBucket":
		return fatalError{err}
	case status == http.StatusNotFound, status == http.StatusRequestedRangeNotSatisfiable:
		return fmt.Errorf("%w: %w", errNotFound, err)
	case status == http.StatusPreconditionFailed:
		return fmt.Errorf("%w: %w", errCondition, err)
	case code == "RequestTimeout", code == "ExpiredToken", code == "SlowDown":
		return err
	case status == http.StatusForbidden:
		return fatalError{fmt.Errorf("%w (S3 also says so of an object that does not exist unless the credentials may list the bucket)", err)}
	case status >= 300 && status < 500 && status != http.StatusConflict && status != http.StatusTooManyRequests && status != http.StatusRequestTimeout:
		return fatalError{err}
	}
	return err
}
