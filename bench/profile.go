package main

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

// takeProfile has the product record where its processor time goes, and writes that to a file for go tool pprof.
func takeProfile(ctx context.Context, ops, file string, lasting time.Duration) error {
	address := fmt.Sprintf("http://%s/debug/pprof/profile?seconds=%d", ops, max(1, int(lasting.Seconds())))
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("profile: %s", res.Status)
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	if _, err := io.Copy(out, res.Body); err != nil {
		return err
	}
	return out.Close()
}
