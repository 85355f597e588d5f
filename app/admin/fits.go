package admin

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/seed27495941/seckill/app/admin/access"
)

// may refuses who may not do something, and what is asked for if it does not fit.
func (s *Service) may(ctx context.Context, role access.Role, in any) error {
	if err := s.allow(ctx, role); err != nil {
		return err
	}
	return fits(in)
}

// fits holds an input (a pointer to a struct) against the limits in its tags, which are
// those of the document: minLength, maxLength, minimum, maximum and enum. Requests over
// HTTP have been held against them; callers in this process have not. What may be left out,
// and is, fits.
func fits(in any) error { return fitsIn(reflect.ValueOf(in).Elem(), "") }

func fitsIn(v reflect.Value, within string) error {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		where, optional := placeOf(field, within)
		var err error
		switch value := v.Field(i); {
		case value.Kind() == reflect.Struct:
			err = fitsIn(value, where)
		case !optional || !value.IsZero():
			if what := misfit(value, field.Tag); what != "" {
				err = invalidAt(where, what)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// placeOf names a field as requests have it, and reports whether it may be left out.
func placeOf(field reflect.StructField, within string) (where string, optional bool) {
	_, hasDefault := field.Tag.Lookup("default")
	for _, in := range []string{"path", "query", "header"} {
		if name, ok := field.Tag.Lookup(in); ok {
			return in + "." + name, hasDefault || in != "path" && field.Tag.Get("required") != "true"
		}
	}
	name, rest, _ := strings.Cut(field.Tag.Get("json"), ",")
	switch {
	case field.Anonymous:
		return within, false
	case field.Name == "Body":
		return "body", false
	}
	return within + "." + name, strings.HasPrefix(rest, "omit")
}

// misfit says what is wrong with a value, "" if nothing is.
func misfit(v reflect.Value, tag reflect.StructTag) string {
	limit := func(name string) (int64, bool) {
		n, err := strconv.ParseInt(tag.Get(name), 10, 64)
		return n, err == nil
	}
	size, unit, low, high := int64(0), "", "minimum", "maximum"
	switch {
	case v.Kind() == reflect.String:
		if one := strings.Split(tag.Get("enum"), ","); tag.Get("enum") != "" && !slices.Contains(one, v.String()) {
			return fmt.Sprintf("expected one of %s, got %.40q", strings.Join(one, ", "), v.String())
		}
		size, unit, low, high = int64(utf8.RuneCountInString(v.String())), " characters", "minLength", "maxLength"
	case v.CanInt():
		size = v.Int()
	case v.CanUint():
		size = int64(min(v.Uint(), 1<<62)) //nolint:gosec // it is bounded
	}
	if least, ok := limit(low); ok && size < least {
		return fmt.Sprintf("expected at least %d%s, got %d", least, unit, size)
	}
	if most, ok := limit(high); ok && size > most {
		return fmt.Sprintf("expected at most %d%s, got %d", most, unit, size)
	}
	return ""
}
