package main

import (
	"errors"
	"fmt"

	"github.com/seed27495941/seckill/app/settings"
	"github.com/seed27495941/seckill/backend"
	"github.com/seed27495941/seckill/backend/consul"
	"github.com/seed27495941/seckill/backend/etcd"
)

// A store is what a driver opens.
type store interface {
	backend.Store
	Close() error
}

// open opens the store that the settings name. This is the one place that
// chooses a driver.
func open(s settings.Settings) (store, error) {
	switch s.Backend {
	case settings.Etcd:
		return asUsage(etcd.Open(etcd.Config{
			Endpoints:      endpoints(s, "127.0.0.1:2379"),
			User:           s.Store.User,
			Password:       s.Store.Password,
			PasswordFile:   s.Store.PasswordFile,
			TLS:            s.Store.TLS,
			DialTimeout:    s.Store.DialTimeout,
			RequestTimeout: s.Store.RequestTimeout,
			Root:           s.Store.Root,
		}))
	case settings.Consul:
		return asUsage(consul.Open(consul.Config{
			Endpoints:      endpoints(s, "127.0.0.1:8500"),
			Token:          s.Store.Token,
			TokenFile:      s.Store.TokenFile,
			User:           s.Store.User,
			Password:       s.Store.Password,
			PasswordFile:   s.Store.PasswordFile,
			Datacenter:     s.Store.Datacenter,
			TLS:            s.Store.TLS,
			DialTimeout:    s.Store.DialTimeout,
			RequestTimeout: s.Store.RequestTimeout,
			Root:           s.Store.Root,
		}))
	case settings.Memory:
		return nil, usageError{errors.New("the backend memory lives and ends with one process, so only 'seckill up' can use it")}
	}
	return nil, usageError{fmt.Errorf("there is no backend %q", s.Backend)}
}

// asUsage says that a driver which could not be opened was told something wrong:
// it does not need a server for that.
func asUsage[S store](s S, err error) (store, error) {
	if err != nil {
		return nil, usageError{err}
	}
	return s, nil
}

func endpoints(s settings.Settings, byDefault string) []string {
	if len(s.Store.Endpoints) > 0 {
		return s.Store.Endpoints
	}
	return []string{byDefault}
}
