package chunker

import "context"

func (t *Target) resolvePlaceholder(ctx context.Context, q Querier, srv serverFacts) error {
	return nil
}
func (p *Plan) placeholder(ctx context.Context, q Querier) error {
	return p.own(ctx, q, RelationRef{}, "")
}
