/* embed: a token's row of the table, decoded. select: the rows whose logits are wanted. */

static void op_embed(work *w, const op_record *op)
{
    const weight_record *table = &w->program->tables.weights[op->weights[0]];
    int first, end, width = table->n_in;
    float *y = value_data(w, op->outputs[0]);
    const format_info *format = format_of(table->format);
    while (next_units(w, w->step->n_tokens, &first, &end))
        for (int t = first; t < end; t++) {
            const char *row = (const char *)table->data + w->step->token_ids[t] * table->row_bytes;
            format->decode(row, y + (size_t)t * (size_t)width,
                           (size_t)(width / format->block_weights));
        }
}

static void op_select(work *w, const op_record *op)
{
    int first, end, width = value_width(w, op->outputs[0]);
    while (next_units(w, w->step->n_logits, &first, &end))
        for (int i = first; i < end; i++)
            memcpy(value_data(w, op->outputs[0]) + (size_t)i * (size_t)width,
                   value_data(w, op->inputs[0]) + (size_t)w->step->logit_rows[i] * (size_t)width,
                   (size_t)width * sizeof(float));
}
